-- inspect: count what a user's index lists, and name some of what it lists as ended.
-- KEYS[1] index    zset  mac -> idle deadline, ms
-- ARGV[1] now_ms   int, or '' for the server's clock
-- ARGV[2] count    int >= 0, how many of the ended to name at most
-- returns {"ok", alive, ended, mac...} | {"layout"}

local index, count = KEYS[1], tonumber(ARGV[2])
local now = clock(ARGV[1])
if redis.call('ZMSCORE', index, NEWER)[1] then return {'layout'} end
local alive = redis.call('ZCOUNT', index, '(' .. int(now), '+inf')
local ended = redis.call('ZCOUNT', index, '-inf', int(now))
local some = count > 0 and redis.call('ZRANGEBYSCORE', index, '-inf', int(now), 'LIMIT', '0', int(count)) or {}
return {'ok', alive, ended, unpack(some)}
