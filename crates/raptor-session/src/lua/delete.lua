-- delete: end a session now.
-- The index is no declared key: while a cluster moves the slot it may be at the other owner, and keeps its entry.
-- KEYS[1] session  hash, see create.lua
-- ARGV[1] now_ms       int, or '' for the server's clock
-- ARGV[2] index_head   see get.lua
-- ARGV[3] mac          the member of the index
-- returns {"deleted"} | {"none"} | {"layout", version} | {"corrupt"}

local LAYOUT = 1
local NEWER = 'v2' -- a member of every index of a newer layout
local session, index_head, mac = KEYS[1], ARGV[2], ARGV[3]

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

local index = suffix and index_head .. suffix
if index then
  need('ZMSCORE', index, NEWER)
  need('ZREM', index, mac)
end
redis.call('UNLINK', session)
-- A logout does not fail for its index: an entry that stays behind ends with its score.
local scores = index and redis.pcall('ZMSCORE', index, NEWER)
if scores and not scores.err and not scores[1] then redis.pcall('ZREM', index, mac) end

local alive = seen and idle and absolute and now < math.min(seen + idle, absolute)
return {alive and 'deleted' or 'none'}
