-- revoke: end some of a user's sessions.
-- KEYS[1] index        zset  mac -> idle deadline, ms
-- KEYS[2..] sessions   hash, see head.lua; a pointer that stands there is left to its time
-- ARGV[1] now_ms   int, or '' for the server's clock
-- ARGV[2] agenda   the shard's
-- returns {"ok", ended, left}, left being those that the index lists as alive still | {"layout"}

local index, agenda = KEYS[1], ARGV[2]
local now = clock(ARGV[1])
if redis.call('ZMSCORE', index, NEWER)[1] then return {'layout'} end

local sessions, leave, untold = {}, {}, {}
for i = 2, #KEYS do
  local text = redis.call('HGET', KEYS[i], 'h')
  leave[i - 1] = mac_of(KEYS[i])
  if text then
    sessions[#sessions + 1] = KEYS[i]
    local head = parse(text)
    -- What was asked to end is not told as expired.
    if head and head.flags == 'e' then untold[#untold + 1] = head.id .. ' ' .. head.suffix end
  end
end
local alive = redis.call('ZCOUNT', index, '(' .. int(now), '+inf')
if #untold > 0 then need('ZREM', agenda, untold[1]) end
if #sessions > 0 then need('UNLINK', sessions[1]) end
local left = alive - redis.call('ZREM', index, unpack(leave))
local ended = #sessions > 0 and redis.call('UNLINK', unpack(sessions)) or 0
if #untold > 0 then redis.pcall('ZREM', agenda, unpack(untold)) end
return {'ok', ended, math.max(left, 0)}
