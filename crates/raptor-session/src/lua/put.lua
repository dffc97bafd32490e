-- put: store a record of tower-sessions, new or in the place of what is there; its deadline comes with it.
-- KEYS[1] session  hash, see head.lua: of nobody, its idle and absolute deadlines one
-- ARGV[1] now_ms       int, or '' for the server's clock
-- ARGV[2] how          'create' or 'save'
-- ARGV[3] deadline_ms  int
-- ARGV[4] id
-- ARGV[5] value        of the one field
-- ARGV[6] seal         or ''
-- returns {"ok"} | {"dup"}: there is one already | {"none"}: there is none to be saved | a status of head.lua

local session, deadline, value = KEYS[1], tonumber(ARGV[3]), ARGV[5]
local now = clock(ARGV[1])
local revision = 1
if ARGV[2] == 'create' then
  if redis.call('EXISTS', session) == 1 then return {'dup'} end
  if deadline <= now then return {'ok'} end
else
  local head, status = load(session, now)
  if not head then return status end
  if head.seal and ARGV[6] == '' then return {'sealed'} end
  if deadline <= now then
    redis.call('UNLINK', session)
    return {'ok'}
  end
  revision = head.revision + 1
end
local ttl = int(deadline - now)
need('PEXPIRE', session, ttl)
local head = {
  seen = now, deadline = deadline, idle = 1, absolute = deadline, revision = revision, bytes = weight('f:record', value),
  created = '0', flags = '-', id = ARGV[4], suffix = '-',
}
redis.call('HSET', session, 'h', text_of(head), 'f:record', value)
if ARGV[6] ~= '' then redis.call('HSET', session, 's', ARGV[6]) end
redis.call('PEXPIRE', session, ttl)
return {'ok'}
