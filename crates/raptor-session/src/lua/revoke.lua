-- revoke: end a user's sessions, but one, so many at a call.
-- KEYS[1] index    zset  mac -> idle deadline, ms
-- ARGV[1] except   the mac of the one that stays, or ''; that of its old token does as well
-- ARGV[2] limit    int >= 1
-- ARGV[3] place    "…session:{shard}:", what stands before a mac in a session's key
-- ARGV[4] agenda   the shard's
-- returns {"ok", ended, left} | {"layout"} | {"split"}

local index, except, limit, place, agenda = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
if redis.call('ZMSCORE', index, NEWER)[1] then return {'layout'} end
for _ = 1, 16 do
  local next_mac = except ~= '' and redis.pcall('HGET', place .. except, '>')
  if type(next_mac) ~= 'string' then break end
  except = next_mac
end

local sessions, leave, stays = {}, {}, 0
for _, mac in ipairs(redis.call('ZRANGE', index, '0', int(limit))) do
  if mac == except then
    stays = 1
  elseif #leave < limit then
    leave[#leave + 1] = mac
    sessions[#sessions + 1] = place .. mac
  end
end
if #leave == 0 then return {'ok', 0, 0} end

-- What was asked to end is not told as expired.
local untold = {}
if redis.call('EXISTS', agenda) == 1 then
  for _, session in ipairs(sessions) do
    local text = redis.pcall('HGET', session, 'h')
    local head = type(text) == 'string' and parse(text)
    if head and head.flags == 'e' then untold[#untold + 1] = head.id .. ' ' .. head.suffix end
  end
  if #untold > 0 then need('ZREM', agenda, untold[1]) end
end
need('ZREM', index, leave[1])
local before = redis.call('ZCARD', index)
local ended = redis.pcall('UNLINK', unpack(sessions))
if type(ended) == 'table' then
  if string.find(ended.err, 'non local key', 1, true) then return {'split'} end
  return ended
end
redis.call('ZREM', index, unpack(leave))
if #untold > 0 then redis.call('ZREM', agenda, unpack(untold)) end
return {'ok', ended, before - #leave - stays}
