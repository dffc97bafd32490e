-- ack: take ends off a shard's agenda that were dealt with.
-- KEYS[1] agenda  zset  "id suffix" -> when it ends, ms
-- ARGV[1..] members
-- returns {"ok", how_many}

return {'ok', redis.call('ZREM', KEYS[1], unpack(ARGV))}
