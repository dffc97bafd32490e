-- get: read a session and slide its idle deadline, in the hash, its TTL and its user's index.
-- Creates no key: a session that is gone stays gone (ZADD XX, and HSET only after the read found it).
-- Does not slide a session that the index does not list: none may outlive what its user's index says of it.
-- So it is, for the moment, while a cluster moves the slot and has the index at the other owner: the index is no
-- declared key, so the server runs the script, and finds the index either missing or "non local".
-- KEYS[1] session  hash, see create.lua
-- ARGV[1] now_ms       int, or '' for the server's clock
-- ARGV[2] index_head   "…session~user:{shard}": with the hash's own suffix it names the user's index, which a
--                      token cannot know; the same slot by the hash tag, and no other family whatever is stored
-- ARGV[3] mac          the member of the index
-- returns {"ok", last_seen_ms, deadline_ms, {field, value, ...}} | {"none"} | {"layout", version} | {"corrupt"}
--         or ZMSCORE's own error, nothing written

local LAYOUT = 1
local NEWER = 'v2' -- a member of every index of a newer layout
local PRUNE = 64
local session, index_head, mac = KEYS[1], ARGV[2], ARGV[3]

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

local held = redis.call('HMGET', session, 'v', 'a', 'i', 'x', 'n')
local version = held[1]
if not version then
  return {redis.call('EXISTS', session) == 1 and 'corrupt' or 'none'}
end
if not tonumber(version) then return {'corrupt'} end
if tonumber(version) > LAYOUT then return {'layout', version} end
local seen, idle, absolute, suffix = tonumber(held[2]), tonumber(held[3]), tonumber(held[4]), held[5]
if not (seen and idle and absolute and suffix) then return {'corrupt'} end

-- Before the first write, for the index may have another type.
local index = index_head .. suffix
local scores = redis.pcall('ZMSCORE', index, mac, NEWER)
if scores.err and not scores.err:find('non local key', 1, true) then return scores end
local listed, newer = scores[1], scores[2]
if newer then return {'layout', NEWER} end

if now >= math.min(seen + idle, absolute) then
  if listed then need('ZREM', index, mac) end
  redis.call('UNLINK', session)
  if listed then redis.call('ZREM', index, mac) end
  return {'none'}
end

local deadline = math.min(seen + idle, absolute)
seen = math.max(seen, now) -- a server's clock may step back
if listed then
  deadline = math.min(seen + idle, absolute)
  local ttl = math.max(deadline - now, 1)
  need('PEXPIRE', session, int(ttl))
  need('ZADD', index, 'XX', int(deadline), mac)
  need('ZRANGEBYSCORE', index, '-inf', int(now))
  need('ZREM', index, mac)
  need('PTTL', index)
  need('HGETALL', session)
  redis.call('HSET', session, 'a', int(seen))
  redis.call('PEXPIRE', session, int(ttl))
  redis.call('ZADD', index, 'XX', int(deadline), mac)
  local ended = redis.call('ZRANGEBYSCORE', index, '-inf', int(now), 'LIMIT', '0', int(PRUNE))
  if #ended > 0 then redis.call('ZREM', index, unpack(ended)) end
  if redis.call('PTTL', index) < ttl then redis.call('PEXPIRE', index, int(ttl)) end
end
return {'ok', int(seen), int(deadline), redis.call('HGETALL', session)}
