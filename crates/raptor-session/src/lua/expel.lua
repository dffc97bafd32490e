-- expel: end the session of an id, wherever its rotations have taken it: in one step, so that none of them outruns it.
-- Its sessions are no declared keys: those that are at the other owner, while a cluster moves the slot, are passed over.
-- KEYS[1] index    zset  mac -> idle deadline, ms
-- ARGV[1] now_ms   int, or '' for the server's clock
-- ARGV[2] id
-- ARGV[3] from     the score to begin at, or '-inf'
-- ARGV[4] count    int >= 1: looked at in one call
-- returns {"deleted"} | {"none"}: it had reached its end | {"more", from} | {"absent"}: not to be found by the index

local index, id = KEYS[1], ARGV[2]
local now = clock(ARGV[1])
-- "…session~user:{sNNN}:workspace:user"; no prefix holds a brace.
local open = string.find(index, '{', 1, true)
local stem = string.sub(index, 1, open - 7) .. string.sub(index, open - 1, open + 5) .. ':'
local suffix = string.sub(index, open + 6)
local tail = ' ' .. id .. ' ' .. suffix

-- A logout does not fail for its index, nor for what is at the other owner; what an ACL forbids is told.
local function tried(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return answer end
  if string.find(answer.err, 'NOPERM', 1, true) then error(answer) end
end

local newer = tried('ZMSCORE', index, NEWER)
if not newer or newer[1] then return {'absent'} end
local found = redis.call('ZRANGEBYSCORE', index, ARGV[3], '+inf', 'WITHSCORES', 'LIMIT', '0', ARGV[4])
for i = 1, #found, 2 do
  local session = stem .. found[i]
  local text = tried('HGET', session, 'h')
  if text and string.sub(text, -#tail) == tail then
    local head, status = parse(text)
    if not head then return status end
    local agenda = head.flags == 'e' and agenda_of(session)
    need('ZREM', index, found[i])
    if agenda then need('ZREM', agenda, found[i]) end
    redis.call('UNLINK', session)
    redis.pcall('ZREM', index, found[i])
    if agenda then redis.pcall('ZREM', agenda, id .. ' ' .. suffix) end
    return {now < end_of(head) and 'deleted' or 'none'}
  end
end
local last = found[#found]
-- Inclusive, for several may share it; not for ever at the same.
if #found == 2 * tonumber(ARGV[4]) and last ~= ARGV[3] then return {'more', last} end
return {'absent'}
