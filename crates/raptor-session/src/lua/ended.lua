-- ended: the sessions of a shard that reached their end or were evicted, and that nobody has acknowledged.
-- KEYS[1] agenda   zset  "id suffix" -> when it ends, ms
-- ARGV[1] now_ms   int, or '' for the server's clock
-- ARGV[2] count    int >= 1
-- returns {"ok", now_ms, [member, ended_ms]...} | {"layout"}

local now = clock(ARGV[1])
if redis.call('ZMSCORE', KEYS[1], NEWER)[1] then return {'layout'} end
local found = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', int(now), 'WITHSCORES', 'LIMIT', '0', ARGV[2])
return {'ok', int(now), unpack(found)}
