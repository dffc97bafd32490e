-- record: charge n usage events, each one at most once, whole or not at all.
-- KEYS are named by their index in ARGV, so that events of one call can share them:
--   seen    set   ids recorded already, one bucket of time
--   period  seven in a row: the totals, a hash; then for model, agent and user each
--           a hash  "<metric>:<name>" -> count   and   a zset of the names, all scores 0
-- ARGV[1] late_ms   int, how old an event may be
-- ARGV[2] ahead_ms  int, how far before us its clock may be
-- ARGV[3..] for each event, 15 + 2 * periods:
--   now_ms,                                          '' = by the server's clock
--   id, at_ms,
--   input, output, cached, requests, micros, pico,   ints; all but pico stay text: Lua is exact to 2^53 only
--   model, agent, user,                              '' = unattributed
--   periods, seen (index), seen_until_ms, then for each period: first key (index), until_ms
-- returns {"ok", status, now_ms, ...}, a pair for each event; status is one of
--   charged | dup | late | ahead | wrongtype | layout | corrupt | full    (only charged has written)
-- An event sees what those before it charged: each reads its keys anew.

local LAYOUT = 1
local METRICS = {'i', 'o', 'c', 'r', 'u', 'p'} -- input, output, cached, requests, micro-dollars, pico carry
local MICRO, PICO = 5, 6
local DIMENSIONS = 3
local PICO_PER_MICRO = 1000000
local MAX_DIGITS = 18 -- one event adds at most 10^15, so a total of 18 digits cannot pass int64

local late_ms, ahead_ms = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local server_now = time[1] * 1000 + math.floor(time[2] / 1000)
local now -- of the event at hand
local may_write = false -- whether the ACL was asked

local function int(n)
  return string.format('%.0f', n)
end

-- Raises what an ACL forbids of a later step before the first write. Not every server can be asked.
local function need(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then redis.call(...) end
end

-- A read that says "wrong type" as a value and raises every other error.
local function read(...)
  local got = redis.pcall(...)
  if type(got) ~= 'table' or not got.err then return got end
  if got.err:find('^WRONGTYPE') then return nil end
  return redis.call(...)
end

-- What charging `deltas` to one hash will do; nil and a status when it must not be done.
local function plan(hash, names, name, deltas, until_ms)
  local fields = {}
  for m = 1, #METRICS do
    fields[m] = names and (METRICS[m] .. ':' .. name) or METRICS[m]
  end
  local held = read('HMGET', hash, unpack(fields))
  if not held then return nil, 'wrongtype' end
  local fresh = true
  for m = 1, #METRICS do
    local total = held[m]
    if total then
      fresh = false
      if total == '' or total:find('%D') then return nil, 'corrupt' end
      if #total > MAX_DIGITS then return nil, 'full' end
    end
  end
  local pico = tonumber(held[PICO] or '0') + tonumber(deltas[PICO])
  if pico >= 2 * PICO_PER_MICRO then return nil, 'corrupt' end
  if names and fresh and not read('ZCARD', names) then return nil, 'wrongtype' end
  return {
    hash = hash, fields = fields, deltas = deltas, carry = pico >= PICO_PER_MICRO,
    names = fresh and names, name = name, until_ms = until_ms,
  }
end

-- Sets a deadline, or moves it later. Relative to `now`, so that a test's clock works too.
local function keep(key, until_ms)
  local ttl = math.max(until_ms - now, 1000)
  if redis.call('PTTL', key) < ttl - 1000 then redis.call('PEXPIRE', key, int(ttl)) end
end

local function apply(p)
  for m = 1, PICO - 1 do
    if p.deltas[m] ~= '0' then redis.call('HINCRBY', p.hash, p.fields[m], p.deltas[m]) end
  end
  local pico = tonumber(p.deltas[PICO])
  if p.carry then
    redis.call('HINCRBY', p.hash, p.fields[MICRO], '1')
    pico = pico - PICO_PER_MICRO
  end
  if pico ~= 0 then redis.call('HINCRBY', p.hash, p.fields[PICO], int(pico)) end
  keep(p.hash, p.until_ms)
  if p.names then
    redis.call('ZADD', p.names, '0', p.name)
    keep(p.names, p.until_ms)
  end
end

-- Charges the event that starts at ARGV[a]; validates everything before its first write.
local function record(a)
  now = tonumber(ARGV[a]) or server_now
  local id, at, periods = ARGV[a + 1], tonumber(ARGV[a + 2]), tonumber(ARGV[a + 12])
  local seen, seen_until = KEYS[tonumber(ARGV[a + 13])], tonumber(ARGV[a + 14])
  local deltas = {}
  for m = 1, #METRICS do deltas[m] = ARGV[a + 2 + m] end

  local known = read('SISMEMBER', seen, id)
  if not known then return 'wrongtype' end
  if known == 1 then return 'dup' end
  if at < now - late_ms then return 'late' end
  if at > now + ahead_ms then return 'ahead' end

  local plans = {}
  for q = 1, periods do
    local first, until_ms = tonumber(ARGV[a + 13 + 2 * q]), tonumber(ARGV[a + 14 + 2 * q])
    local totals = KEYS[first]
    local version = read('HGET', totals, 'v')
    if version == nil then return 'wrongtype' end
    if version and not (tonumber(version) and tonumber(version) <= LAYOUT) then return 'layout' end
    local status
    plans[#plans + 1], status = plan(totals, nil, nil, deltas, until_ms)
    if status then return status end
    plans[#plans].version = not version
    for d = 1, DIMENSIONS do
      plans[#plans + 1], status = plan(KEYS[first + 2 * d - 1], KEYS[first + 2 * d], ARGV[a + 8 + d], deltas, until_ms)
      if status then return status end
    end
  end

  if not may_write then
    local hash, names = KEYS[tonumber(ARGV[a + 15])], KEYS[tonumber(ARGV[a + 15]) + 2]
    need('PTTL', seen)
    need('PEXPIRE', seen, '1')
    need('HSET', hash, 'v', int(LAYOUT))
    need('HINCRBY', hash, 'i', '1')
    need('ZCARD', names) -- of later events too
    need('ZADD', names, '0', id)
    may_write = true
  end
  redis.call('SADD', seen, id)
  keep(seen, seen_until)
  for _, p in ipairs(plans) do
    if p.version then redis.call('HSET', p.hash, 'v', int(LAYOUT)) end
    apply(p)
  end
  return 'charged'
end

local out, a = {'ok'}, 3
while a <= #ARGV do
  out[#out + 1] = record(a)
  out[#out + 1] = int(now)
  a = a + 15 + 2 * tonumber(ARGV[a + 12])
end
return out
