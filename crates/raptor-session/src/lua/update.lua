-- update: set and remove fields of a session, if it is as expected.
-- KEYS[1] session  hash, see head.lua
-- ARGV[1] now_ms      int, or '' for the server's clock
-- ARGV[2] revision    int that it must have, or ''
-- ARGV[3] id          that it must have, or '': the one that its fields are sealed for
-- ARGV[4] max_fields  int
-- ARGV[5] max_bytes   int, of all fields in the clear
-- ARGV[6] sealed      '1' where what is set is sealed, or '0': as the session is
-- ARGV[7] sets        int, how many are set
-- ARGV[8..] field, value, ... of these, then the fields to remove; names with their "f:"
-- returns {"ok", revision} | {"conflict", revision} | {"fields", n} | {"bytes", n} | a status of head.lua

local session, sets = KEYS[1], tonumber(ARGV[7])
local now = clock(ARGV[1])
local head, status = load(session, now)
if not head then return status end
if head.seal and ARGV[6] == '0' then return {'sealed'} end
if ARGV[3] ~= '' and ARGV[3] ~= head.id or ARGV[6] == '1' and not head.seal then return {'corrupt'} end
if ARGV[2] ~= '' and tonumber(ARGV[2]) ~= head.revision then return {'conflict', int(head.revision)} end

local names, removed = {}, {}
for i = 0, sets - 1 do names[#names + 1] = ARGV[8 + 2 * i] end
for i = 8 + 2 * sets, #ARGV do
  names[#names + 1] = ARGV[i]
  removed[#removed + 1] = ARGV[i]
end
local before = redis.call('HMGET', session, unpack(names))
local fields, bytes = redis.call('HLEN', session) - (head.seal and 2 or 1), head.bytes
for i, name in ipairs(names) do
  if before[i] then
    fields, bytes = fields - 1, bytes - weight(name, before[i])
  end
  if i <= sets then
    fields, bytes = fields + 1, bytes + weight(name, ARGV[7 + 2 * i])
  end
end
if sets > 0 and fields > tonumber(ARGV[4]) then return {'fields', fields} end
if sets > 0 and bytes > tonumber(ARGV[5]) then return {'bytes', int(bytes)} end

head.revision, head.bytes = head.revision + 1, math.max(bytes, 0)
if #removed > 0 then need('HDEL', session, removed[1]) end
redis.call('HSET', session, 'h', text_of(head), unpack(ARGV, 8, 7 + 2 * sets))
if #removed > 0 then redis.call('HDEL', session, unpack(removed)) end
return {'ok', int(head.revision)}
