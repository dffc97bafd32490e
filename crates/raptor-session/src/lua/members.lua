-- members: a page of what a user's index lists as alive, the ones that end first at its head; and behind the first page
-- some that it lists as ended, for a look at whether they are.
-- Who reads or ends them declares their keys then: so a cluster that moves the slot refuses the call, and no session
-- that is at the other owner is taken for one that is gone.
-- KEYS[1] index    zset  mac -> idle deadline, ms
-- ARGV[1] now_ms   int, or '' for the server's clock
-- ARGV[2] after    the score of the last page's last one, or ''
-- ARGV[3] count    int >= 1; more only where several share the last one's score
-- returns {"ok", after or "" at the end, mac...} | {"layout"}

local TIES = 1000
local index, after, count = KEYS[1], ARGV[2], tonumber(ARGV[3])
local now = clock(ARGV[1])
if redis.call('ZMSCORE', index, NEWER)[1] then return {'layout'} end
local from = tonumber(after) and tonumber(after) > now and after or int(now)
local found = redis.call('ZRANGEBYSCORE', index, '(' .. from, '+inf', 'WITHSCORES', 'LIMIT', '0', int(count))
local reply, known = {'ok', ''}, {}
for i = 1, #found, 2 do
  reply[#reply + 1] = found[i]
  known[found[i]] = true
end
if #found == 2 * count then
  local last = found[#found]
  reply[2] = last
  for _, mac in ipairs(redis.call('ZRANGEBYSCORE', index, last, last, 'LIMIT', '0', int(TIES))) do
    if not known[mac] then reply[#reply + 1] = mac end
  end
end
if after == '' then
  for _, mac in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', int(now), 'LIMIT', '0', int(PRUNE))) do
    reply[#reply + 1] = mac
  end
end
return reply
