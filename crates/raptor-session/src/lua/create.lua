-- create: store a new session and enter it into its user's index.
-- KEYS[1] session  hash   v layout, id, u user, w workspace, n index suffix, c created ms, a last seen ms,
--                         i idle ms, x absolute deadline ms, r revision, "f:<name>" fields
-- KEYS[2] index    zset   mac -> idle deadline, ms
-- ARGV[1] now_ms       int, or '' for the server's clock
-- ARGV[2] idle_ms      int >= 1
-- ARGV[3] absolute_ms  int >= idle_ms
-- ARGV[4] mac          the member of the index
-- ARGV[5] id           the session's stable id
-- ARGV[6] user
-- ARGV[7] workspace
-- ARGV[8] suffix       what follows "…session~user:{shard}" in the name of KEYS[2]
-- ARGV[9..] field, value, ...   names with their "f:"
-- returns {"ok"} | {"dup", id, user, workspace} of the session that is there already
--       | {"layout"} of the index

local LAYOUT = '1'
local NEWER = 'v2' -- a member of every index of a newer layout
local PRUNE = 64
local session, index = KEYS[1], KEYS[2]
local idle, absolute, mac = tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]

local function int(n)
  return string.format('%.0f', n)
end

-- Raises what an ACL forbids of a later step before the first write. Not every server can be asked.
local function need(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then redis.call(...) end
end

local now = tonumber(ARGV[1])
if not now then
  local t = redis.call('TIME')
  now = t[1] * 1000 + math.floor(t[2] / 1000)
end

if redis.call('EXISTS', session) == 1 then
  local held = redis.call('HMGET', session, 'id', 'u', 'w')
  return {'dup', held[1] or '', held[2] or '', held[3] or ''}
end
if redis.call('ZMSCORE', index, NEWER)[1] then return {'layout'} end
local ended = redis.call('ZRANGEBYSCORE', index, '-inf', int(now), 'LIMIT', '0', int(PRUNE))

local ttl = math.min(idle, absolute)
need('PEXPIRE', session, int(ttl))
need('ZADD', index, int(now + ttl), mac)
need('PTTL', index)
if #ended > 0 then need('ZREM', index, ended[1]) end

redis.call('HSET', session, 'v', LAYOUT, 'id', ARGV[5], 'u', ARGV[6], 'w', ARGV[7], 'n', ARGV[8],
  'c', int(now), 'a', int(now), 'i', int(idle), 'x', int(now + absolute), 'r', '1', unpack(ARGV, 9))
redis.call('PEXPIRE', session, int(ttl))
if #ended > 0 then redis.call('ZREM', index, unpack(ended)) end
redis.call('ZADD', index, int(now + ttl), mac)
-- Relative to `now`, so that a test's clock works too; never shortens another session's stay.
if redis.call('PTTL', index) < ttl then redis.call('PEXPIRE', index, int(ttl)) end
return {'ok'}
