-- delete: end a session now.
-- The index is no declared key: while a cluster moves the slot it may be at the other owner, and keeps its entry.
-- KEYS[1] session  hash, see head.lua
-- ARGV[1] now_ms   int, or '' for the server's clock
-- returns {"deleted"} | a status of head.lua

local session = KEYS[1]
local now = clock(ARGV[1])
local head, status, ended = load(session, now)
local last = head or ended
if not last then return status end

local mac, index = mac_of(session), last.suffix ~= '-' and index_of(session, last.suffix)
local agenda = head and head.flags == 'e' and agenda_of(session)
if index then
  need('ZMSCORE', index, NEWER)
  need('ZREM', index, mac)
end
if agenda then need('ZREM', agenda, mac) end
redis.call('UNLINK', session)
-- A logout does not fail for its index: an entry that stays behind leaves it with a later login or list.
local scores = index and redis.pcall('ZMSCORE', index, NEWER)
if scores and not scores.err and not scores[1] then redis.pcall('ZREM', index, mac) end
if agenda then redis.pcall('ZREM', agenda, head.id .. ' ' .. head.suffix) end
return {head and 'deleted' or 'none'}
