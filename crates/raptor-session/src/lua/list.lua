-- list: read some of a user's sessions, without a slide; takes off the index what is gone.
-- Nothing leaves it by its score: a clock may be wrong, and what is not listed is missed by a revocation. Who lives for
-- longer than its score says gets it back.
-- KEYS[1] index         zset  mac -> idle deadline, ms
-- KEYS[2..] sessions    hash, see head.lua
-- ARGV[1] now_ms        int, or '' for the server's clock
-- returns {"ok", taken_off, [mac, {"h", head, field, value, ...} | {">", mac}]...} of those of this user that live, and
--         of pointers | {"layout"}

local index = KEYS[1]
local now = clock(ARGV[1])
local macs = {}
for i = 2, #KEYS do macs[i] = mac_of(KEYS[i]) end
macs[1] = NEWER
local scores = redis.call('ZMSCORE', index, unpack(macs))
if scores[1] then return {'layout'} end

local reply, leave, late = {'ok', 0}, {}, {}
for i = 2, #KEYS do
  local mac, held = macs[i], redis.call('HGETALL', KEYS[i])
  for at = 3, #held, 2 do
    if held[at] == 'h' then
      held[1], held[2], held[at], held[at + 1] = held[at], held[at + 1], held[1], held[2]
    end
  end
  if held[1] == 'h' then
    local head, status = parse(held[2])
    -- Whoever writes to the index can name others' sessions in it.
    local lives = head and index_of(KEYS[i], head.suffix) == index and now < end_of(head)
    if lives and scores[i] and tonumber(scores[i]) <= now then
      late[#late + 1] = int(end_of(head))
      late[#late + 1] = mac
    end
    if status or lives then
      reply[#reply + 1] = mac
      reply[#reply + 1] = held
    end
  elseif #held == 0 then
    leave[#leave + 1] = mac
  else
    for at = 1, #held, 2 do
      if held[at] == '>' then
        reply[#reply + 1] = mac
        reply[#reply + 1] = {'>', held[at + 1]}
      end
    end
  end
end
if #late > 0 then need('ZADD', index, 'XX', late[1], late[2]) end
if #leave > 0 then need('ZREM', index, leave[1]) end
-- A list is a read: where nothing can be written it tells what it found all the same.
if #leave > 0 and not wrote('ZREM', index, unpack(leave)) then leave = {} end
if #late > 0 then wrote('ZADD', index, 'XX', unpack(late)) end
reply[2] = #leave
return reply
