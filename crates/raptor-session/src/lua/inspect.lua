-- inspect: count what a user's index lists, and take some of what has ended off it.
-- KEYS[1] index    zset  mac -> idle deadline, ms
-- ARGV[1] now_ms   int, or '' for the server's clock
-- ARGV[2] sweep    int >= 0, how many of the ended to take off at most
-- returns {"ok", alive, ended, swept} | {"layout"}

local index, sweep = KEYS[1], tonumber(ARGV[2])
local now = clock(ARGV[1])
if redis.call('ZMSCORE', index, NEWER)[1] then return {'layout'} end
local alive = redis.call('ZCOUNT', index, '(' .. int(now), '+inf')
local ended = redis.call('ZCOUNT', index, '-inf', int(now))
local leave = sweep > 0 and redis.call('ZRANGEBYSCORE', index, '-inf', int(now), 'LIMIT', '0', int(sweep)) or {}
if #leave > 0 then redis.call('ZREM', index, unpack(leave)) end
return {'ok', alive, ended, #leave}
