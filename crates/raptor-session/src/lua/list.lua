-- list: read some of a user's sessions, without a slide; takes off the index what has ended or is gone.
-- KEYS[1] index         zset  mac -> idle deadline, ms
-- KEYS[2..] sessions    hash, see head.lua
-- ARGV[1] now_ms        int, or '' for the server's clock
-- returns {"ok", [mac, {"h", head, field, value, ...} | {">", mac}]...} of those of this user that live, and of
--         pointers | {"layout"}

local index = KEYS[1]
local now = clock(ARGV[1])
if redis.call('ZMSCORE', index, NEWER)[1] then return {'layout'} end
local reply = {'ok'}
local leave = redis.call('ZRANGEBYSCORE', index, '-inf', int(now), 'LIMIT', '0', int(PRUNE))
for i = 2, #KEYS do
  local mac, held = mac_of(KEYS[i]), redis.call('HGETALL', KEYS[i])
  for at = 3, #held, 2 do
    if held[at] == 'h' then
      held[1], held[2], held[at], held[at + 1] = held[at], held[at + 1], held[1], held[2]
    end
  end
  if held[1] == 'h' then
    local head, status = parse(held[2])
    -- Whoever writes to the index can name others' sessions in it.
    local theirs = not head or index_of(KEYS[i], head.suffix) == index
    if status or theirs and now < math.min(head.deadline, head.absolute) then
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
if #leave > 0 then redis.call('ZREM', index, unpack(leave)) end
return reply
