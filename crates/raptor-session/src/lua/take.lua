-- take: read a field of a session and remove it, in one step.
-- KEYS[1] session  hash, see head.lua
-- ARGV[1] now_ms   int, or '' for the server's clock
-- ARGV[2] field    with its "f:"
-- ARGV[3] keyring  '1' or '0': whether the caller can open what is sealed
-- returns {"ok", head, seal, value} | {"absent"} | a status of head.lua

local session, field = KEYS[1], ARGV[2]
local now = clock(ARGV[1])
local head, status = load(session, now)
if not head then return status end
if head.seal and ARGV[3] == '0' then return {'sealed'} end
local value = redis.call('HMGET', session, field)[1]
if not value then return {'absent'} end
head.revision, head.bytes = head.revision + 1, math.max(head.bytes - weight(field, value), 0)
need('HDEL', session, field)
redis.call('HSET', session, 'h', text_of(head))
redis.call('HDEL', session, field)
return {'ok', head.text, head.seal or '', value}
