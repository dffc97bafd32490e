-- list: a page of a user's sessions, the ones that end first at its head; takes off the index what has ended.
-- KEYS[1] index    zset  mac -> idle deadline, ms
-- ARGV[1] now_ms   int, or '' for the server's clock
-- ARGV[2] after    the score of the last page's last one, or ''
-- ARGV[3] count    int >= 1; more only where several share the last one's score
-- ARGV[4] place    "…session:{shard}:", what stands before a mac in a session's key
-- returns {"ok", now_ms, after or "" at the end, [mac, {"h", head, field, value, ...}]...} | {"layout"} | {"split"}

local TIES = 1000
local index, after, count, place = KEYS[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local now = clock(ARGV[1])
if redis.call('ZMSCORE', index, NEWER)[1] then return {'layout'} end
local from = tonumber(after) and tonumber(after) > now and after or int(now)
local found = redis.call('ZRANGEBYSCORE', index, '(' .. from, '+inf', 'WITHSCORES', 'LIMIT', '0', int(count))
local last = ''
if #found == 2 * count then
  last = found[#found]
  local known = {}
  for i = 1, #found, 2 do known[found[i]] = true end
  for _, mac in ipairs(redis.call('ZRANGEBYSCORE', index, last, last, 'LIMIT', '0', int(TIES))) do
    if not known[mac] then
      found[#found + 1] = mac
      found[#found + 1] = last
    end
  end
end

local reply = {'ok', int(now), last}
local leave = redis.call('ZRANGEBYSCORE', index, '-inf', int(now), 'LIMIT', '0', int(PRUNE))
for i = 1, #found, 2 do
  local held = redis.pcall('HGETALL', place .. found[i])
  if held.err then
    if string.find(held.err, 'non local key', 1, true) then return {'split'} end
    return held
  end
  if #held == 0 then
    if #leave < 4 * PRUNE then leave[#leave + 1] = found[i] end
  else
    for at = 3, #held, 2 do
      if held[at] == 'h' then
        held[1], held[2], held[at], held[at + 1] = held[at], held[at + 1], held[1], held[2]
      end
    end
    if held[1] == 'h' then
      reply[#reply + 1] = found[i]
      reply[#reply + 1] = held
    end
  end
end
if #leave > 0 then redis.call('ZREM', index, unpack(leave)) end
return reply
