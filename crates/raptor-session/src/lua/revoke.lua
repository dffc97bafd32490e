-- revoke: end some of a user's sessions.
-- KEYS[1] index        zset  mac -> idle deadline, ms
-- KEYS[2..] sessions   hash, see head.lua; a pointer that stands there is left to its time
-- ARGV[1] agenda   the shard's
-- ARGV[2] except   the id of a session that is spared, or ''
-- returns {"ok", ended, left, spared}, left being those that the index lists still, whatever the clock says | {"layout"}

local index, agenda = KEYS[1], ARGV[1]
if redis.call('ZMSCORE', index, NEWER)[1] then return {'layout'} end

local sessions, leave, untold, spared = {}, {}, {}, 0
for i = 2, #KEYS do
  local text = redis.call('HGET', KEYS[i], 'h')
  local head = text and parse(text)
  if head and head.id == ARGV[2] then
    spared = spared + 1
  else
    leave[#leave + 1] = mac_of(KEYS[i])
    -- Whoever writes to the index can name others' sessions in it.
    if text and (not head or index_of(KEYS[i], head.suffix) == index) then
      sessions[#sessions + 1] = KEYS[i]
      -- What was asked to end is not told as expired.
      if head and head.flags == 'e' then untold[#untold + 1] = head.id .. ' ' .. head.suffix end
    end
  end
end
local listed_now = redis.call('ZCOUNT', index, '-inf', '+inf')
if #untold > 0 then need('ZREM', agenda, untold[1]) end
if #sessions > 0 then need('UNLINK', sessions[1]) end
local left = listed_now - (#leave > 0 and redis.call('ZREM', index, unpack(leave)) or 0)
local ended = #sessions > 0 and redis.call('UNLINK', unpack(sessions)) or 0
if #untold > 0 then redis.pcall('ZREM', agenda, unpack(untold)) end
return {'ok', ended, math.max(left, 0), spared}
