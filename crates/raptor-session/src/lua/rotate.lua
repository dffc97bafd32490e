-- rotate: give a session another key, and leave a pointer at the old one.
-- A repeat with the same new key changes nothing; of two with different ones the second finds the pointer.
-- KEYS[1] old  hash, see head.lua
-- KEYS[2] new  hash
-- ARGV[1] now_ms       int, or '' for the server's clock
-- ARGV[2] id           that the session must have
-- ARGV[3] readable_ms  until when the old token may read, ms
-- ARGV[4] keep_ms      how long the pointer stays at least
-- ARGV[5] seal         of the session under its new key, or ''
-- ARGV[6] pointer      its seal, or ''
-- returns {"ok"} | {"dup"}: there is another session under the new key | a status of head.lua

local old, new = KEYS[1], KEYS[2]
local from, to = mac_of(old), mac_of(new)
local now = clock(ARGV[1])
local head, status = load(old, now)
if not head then
  if status[1] == 'moved' and status[2] == to then
    local _, gone = load(new, now)
    return gone or {'ok'}
  end
  return status
end
if head.id ~= ARGV[2] then return {'corrupt'} end
if redis.call('EXISTS', new) == 1 then return {'dup'} end

local index = head.suffix ~= '-' and index_of(old, head.suffix)
local score
if index then
  local refused
  score, refused = listed(index, from)
  if refused then return refused end
  if score then
    need('ZADD', index, score, to)
    need('ZREM', index, from)
  end
end
local stay = math.min(math.max(tonumber(ARGV[4]), tonumber(ARGV[3]) - now), head.absolute - now)
need('HSET', old, '>', to)
need('PEXPIRE', old, int(stay))

redis.call('RENAME', old, new)
if ARGV[5] ~= '' then redis.call('HSET', new, 's', ARGV[5]) end
if score then
  -- In this order, so that the index is never empty and keeps its TTL.
  redis.call('ZADD', index, score, to)
  redis.call('ZREM', index, from)
end
redis.call('HSET', old, '>', to, 'g', ARGV[3], 'i', head.id .. ' ' .. head.suffix)
if ARGV[6] ~= '' then redis.call('HSET', old, 's', ARGV[6]) end
redis.call('PEXPIRE', old, int(stay))
return {'ok'}
