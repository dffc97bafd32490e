-- create: store a new session and enter it into its user's index, within the user's cap.
-- KEYS[1] session  hash, see head.lua
-- KEYS[2] index    zset  mac -> idle deadline, ms; absent for a session of nobody
-- ARGV[1] now_ms       int, or '' for the server's clock
-- ARGV[2] idle_ms      int >= 1
-- ARGV[3] absolute_ms  int >= idle_ms
-- ARGV[4] created_ms   int, or '' for now: the moment that was sealed
-- ARGV[5] id           the session's stable id
-- ARGV[6] suffix       what follows "…session~user:{shard}" in the name of KEYS[2], or '-'
-- ARGV[7] flags        'e' or '-'
-- ARGV[8] cap          int >= 1, or 0 for none
-- ARGV[9] at_cap       'evict' or 'reject'
-- ARGV[10] bytes       of all fields in the clear
-- ARGV[11] keep_ms     how long an end is told after it
-- ARGV[12] seal        or ''
-- ARGV[13..] field, value, ...   names with their "f:"
-- returns {"ok", evicted} | {"dup", id, suffix} of the session that is there already | {"full", alive} | {"again"}: so
--         many were evicted that it is to be called again | {"late"}: its end has come | a status of head.lua

local EVICT = 256
local session, index = KEYS[1], KEYS[2]
local idle, absolute, mac = tonumber(ARGV[2]), tonumber(ARGV[3]), mac_of(KEYS[1])
local cap, suffix = tonumber(ARGV[8]), ARGV[6]
local now, fraction = clock(ARGV[1])
local created = tonumber(ARGV[4]) or now
local head = {
  seen = now, deadline = math.min(now + idle, created + absolute), idle = idle, absolute = created + absolute,
  revision = 1, bytes = tonumber(ARGV[10]), created = int(created), flags = ARGV[7], id = ARGV[5], suffix = suffix,
}
local ttl = int(head.deadline - now)
local agenda = head.flags == 'e' and agenda_of(session)

local held = redis.call('HMGET', session, 'h', '>')
if held[1] or held[2] or redis.call('EXISTS', session) == 1 then
  local other = held[1] and parse(held[1]) or {}
  return {'dup', other.id or '', other.suffix or ''}
end
if head.deadline <= now then return {'late'} end

-- Who leaves the index: those that are gone, whatever their score (a clock may be wrong, and what is not listed is missed
-- by a revocation), and as many as the cap wants of those that end first: the ones unused for the longest. Who lives for
-- longer than its score says gets it back.
local leave, late, victims, told = {}, {}, {}, {}
if index then
  if redis.call('ZMSCORE', index, NEWER)[1] then return {'layout'} end
  for _, other in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', int(now), 'LIMIT', '0', int(PRUNE))) do
    local key = string.sub(session, 1, -44) .. other
    local text = redis.call('HGET', key, 'h')
    local its = text and parse(text)
    if not text then
      leave[#leave + 1] = other
    elseif its and now < end_of(its) and index_of(key, its.suffix) == index then
      late[#late + 1] = int(end_of(its))
      late[#late + 1] = other
    end
  end
  local alive = cap > 0 and redis.call('ZCOUNT', index, '(' .. int(now), '+inf') + #late / 2 or -1
  if alive >= cap then
    local gone, there = {}, {}
    for _, other in ipairs(redis.call('ZRANGEBYSCORE', index, '(' .. int(now), '+inf', 'LIMIT', '0', int(EVICT))) do
      local key = string.sub(session, 1, -44) .. other
      local text = redis.call('HGET', key, 'h')
      if text then
        local its = parse(text)
        there[#there + 1] = {mac = other, key = key, head = its, seen = its and its.seen or 0, at = #there}
      else
        gone[#gone + 1] = other
      end
    end
    alive = alive - #gone
    if alive >= cap and ARGV[9] == 'reject' then return {'full', int(alive)} end
    for _, other in ipairs(gone) do leave[#leave + 1] = other end
    table.sort(there, function(one, two)
      if one.seen ~= two.seen then return one.seen < two.seen end
      return one.at < two.at
    end)
    for i = 1, math.min(#there, alive - cap + 1) do
      victims[i] = there[i].key
      leave[#leave + 1] = there[i].mac
      local its = there[i].head
      if its and its.flags == 'e' then
        told[#told + 1] = int(now)
        told[#told + 1] = its.id .. ' ' .. its.suffix
      end
    end
    if alive - #victims >= cap then head = nil end
  end
  need('ZADD', index, ttl, mac)
  need('PEXPIRE', index, ttl)
  if #leave > 0 then need('ZREM', index, leave[1]) end
end
need('PEXPIRE', session, ttl)
if #victims > 0 then need('UNLINK', victims[1]) end
if agenda or #told > 0 then
  need('ZADD', agenda_of(session), '0', mac)
  need('PEXPIRE', agenda_of(session), ttl)
  need('ZRANGEBYSCORE', agenda_of(session), '-inf', '0')
  need('ZREM', agenda_of(session), mac)
end

-- First what a server without memory refuses.
if head then
  redis.call('HSET', session, 'h', text_of(head), unpack(ARGV, 13))
  if ARGV[12] ~= '' then redis.call('HSET', session, 's', ARGV[12]) end
  redis.call('PEXPIRE', session, ttl)
end
if #late > 0 then redis.call('ZADD', index, 'XX', unpack(late)) end
if #leave > 0 then redis.call('ZREM', index, unpack(leave)) end
if #victims > 0 then redis.call('UNLINK', unpack(victims)) end
if #told > 0 then redis.call('ZADD', agenda_of(session), 'XX', unpack(told)) end
if not head then return {'again'} end
if index then
  -- The fraction keeps those in order that begin within one millisecond.
  redis.call('ZADD', index, string.format('%.3f', head.deadline + fraction / 1000), mac)
  -- Relative to `now`, so that a test's clock works too; never shortens another session's stay.
  if redis.call('PEXPIRE', index, ttl, 'NX') == 0 then redis.call('PEXPIRE', index, ttl, 'GT') end
end
if agenda then
  local keep = tonumber(ARGV[11])
  local stale = redis.call('ZRANGEBYSCORE', agenda, '-inf', int(now - keep), 'LIMIT', '0', int(PRUNE))
  if #stale > 0 then redis.call('ZREM', agenda, unpack(stale)) end
  redis.call('ZADD', agenda, int(head.deadline), head.id .. ' ' .. suffix)
  local stay = int(absolute + keep)
  if redis.call('PEXPIRE', agenda, stay, 'NX') == 0 then redis.call('PEXPIRE', agenda, stay, 'GT') end
end
return {'ok', #victims}
