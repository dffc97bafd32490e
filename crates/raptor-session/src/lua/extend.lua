-- extend: put off a session's idle deadline once, never past the absolute one and never back.
-- KEYS[1] session  hash, see head.lua
-- ARGV[1] now_ms   int, or '' for the server's clock
-- ARGV[2] by_ms    int >= 1: the session is to live so long from now
-- ARGV[3] keyring  '1' or '0': whether the caller can check what is sealed
-- returns {"ok", deadline_ms, head, seal} | a status of head.lua

local session = KEYS[1]
local now = clock(ARGV[1])
local head, status = load(session, now)
if not head then return status end
if head.seal and ARGV[3] == '0' then return {'sealed'} end
local mac, index = mac_of(session), head.suffix ~= '-' and index_of(session, head.suffix)
local agenda = head.flags == 'e' and agenda_of(session)
local deadline = math.min(now + tonumber(ARGV[2]), head.absolute)
if deadline <= head.deadline then return {'ok', int(head.deadline), head.text, head.seal or ''} end
local ttl, score = int(deadline - now), int(deadline)
if index then
  local at, refused = listed(index, mac)
  if refused then return refused end
  -- None may outlive what its user's index says of it.
  if not at then return {'ok', int(head.deadline), head.text, head.seal or ''} end
  need('ZADD', index, 'XX', score, mac)
  need('PEXPIRE', index, ttl)
end
if agenda then need('ZADD', agenda, 'XX', score, mac) end
need('PEXPIRE', session, ttl)

head.seen, head.deadline = math.max(head.seen, now), deadline
redis.call('HSET', session, 'h', text_of(head))
redis.call('PEXPIRE', session, ttl)
if index then
  redis.call('ZADD', index, 'XX', score, mac)
  redis.call('PEXPIRE', index, ttl, 'GT')
end
if agenda then redis.pcall('ZADD', agenda, 'XX', score, head.id .. ' ' .. head.suffix) end
return {'ok', score, head.text, head.seal or ''}
