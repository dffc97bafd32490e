-- record: charge n usage events, each one at most once, whole or not at all.
-- KEYS are named by their index in ARGV, so that events of one call can share them:
--   seen    set   ids recorded already, one bucket of time
--   period  seven in a row: the totals, a hash; then for model, agent and user each
--           a hash  "<metric>:<name>" -> count   and   a zset of the names, all scores 0
-- ARGV[1..] for each event, 17 + 2 * periods:
--   now_ms,                                          '' = by the server's clock
--   late_ms, ahead_ms,                               how old it may be, and how far before us its clock
--   id, at_ms,
--   input, output, cached, requests, micros, pico,   ints below 2^53
--   model, agent, user,                              '' = unattributed
--   periods, seen (index), seen_until_ms, then for each period: first key (index), until_ms
-- returns {"ok", status, now_ms, ...}, a pair for each event; status is one of
--   charged | dup | late | ahead | wrongtype | layout | corrupt | full    (only charged has written)
-- An event sees what those before it charged: each reads its keys anew.

local LAYOUT = 1
local NEWER = 'v2' -- a member of every set of seen ids of a newer layout; the totals' field v tells of the rest
local METRICS = {'i', 'o', 'c', 'r', 'u', 'p'} -- input, output, cached, requests, micro-dollars, pico carry
local MICRO, PICO = 5, 6
local DIMENSIONS = 3
local PICO_PER_MICRO = 1000000
local EXACT = 9007199254740992 -- 2^53: from here on numbers are not exact
local MAX_DIGITS = 18 -- one event adds at most 10^15, so a total of 18 digits cannot pass int64

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

-- Fields by name, written out once: a batch repeats few names.
local fields_of = {totals = {'i', 'o', 'c', 'r', 'u', 'p', 'v'}}
local function fields(names, name)
  local key = names and ':' .. name or 'totals'
  local known = fields_of[key]
  if not known then
    known = {}
    for m = 1, #METRICS do known[m] = METRICS[m] .. key end
    fields_of[key] = known
  end
  return known
end

-- What charging `deltas` to one hash will do; nil and a status when it must not be done.
-- Totals have no `names`; they have the version of all keys of their period.
local function plan(hash, names, name, deltas, until_ms)
  local fields = fields(names, name)
  local held = read('HMGET', hash, unpack(fields))
  if not held then return nil, 'wrongtype' end
  local version, fresh = held[#METRICS + 1], true
  if version and not (tonumber(version) and tonumber(version) <= LAYOUT) then return nil, 'layout' end
  local sums = {}
  for m = 1, #METRICS do
    local total = held[m]
    if total then
      fresh = false
      if total == '' or total:find('%D') then return nil, 'corrupt' end
      if #total > MAX_DIGITS then return nil, 'full' end
      sums[m] = total + deltas[m]
    else
      sums[m] = deltas[m]
    end
  end
  if sums[PICO] >= 2 * PICO_PER_MICRO then return nil, 'corrupt' end
  if names and fresh and not read('ZCARD', names) then return nil, 'wrongtype' end
  return {
    hash = hash, fields = fields, sums = sums, deltas = deltas, version = names or version,
    names = names, name = name, fresh = fresh, until_ms = until_ms,
  }
end

-- Sets a deadline, or moves it later. Relative to `now`, so that a test's clock works too.
local kept = {} -- for how long, as of this call
local function keep(key, until_ms)
  local ttl = math.max(until_ms - now, 1000)
  if (kept[key] or 0) >= ttl then return end
  if redis.call('PTTL', key) < ttl - 1000 then redis.call('PEXPIRE', key, int(ttl)) end
  kept[key] = ttl
end

-- Sums below 2^53 are exact in Lua, and written together; the server adds up the others.
local function apply(p)
  local fields, sums, deltas = p.fields, p.sums, p.deltas
  local carry, set, filled = sums[PICO] >= PICO_PER_MICRO, {}, 0
  for m = 1, PICO do
    local delta, sum = deltas[m], sums[m]
    if carry and m == MICRO then delta, sum = delta + 1, sum + 1 end
    if carry and m == PICO then delta, sum = 1, sum - PICO_PER_MICRO end -- it changes in any case
    if delta > 0 and sum >= EXACT then
      redis.call('HINCRBY', p.hash, fields[m], int(delta))
    elseif delta > 0 then
      set[filled + 1], set[filled + 2] = fields[m], sum -- the server writes whole numbers out in full
      filled = filled + 2
    end
  end
  if not p.version then
    set[filled + 1], set[filled + 2] = 'v', LAYOUT
    filled = filled + 2
  end
  if filled > 0 then redis.call('HSET', p.hash, unpack(set)) end
  -- All keys of a period have one deadline: what has a name already has it too.
  if p.fresh or not p.names then keep(p.hash, p.until_ms) end
  if p.names and p.fresh then
    redis.call('ZADD', p.names, '0', p.name)
    keep(p.names, p.until_ms)
  end
end

-- Charges the event that starts at ARGV[a]; validates everything before its first write.
local function record(a)
  now = tonumber(ARGV[a]) or server_now
  local late_ms, ahead_ms = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2])
  local id, at, periods = ARGV[a + 3], tonumber(ARGV[a + 4]), tonumber(ARGV[a + 14])
  local seen, seen_until = KEYS[tonumber(ARGV[a + 15])], tonumber(ARGV[a + 16])
  local deltas = {}
  for m = 1, #METRICS do deltas[m] = tonumber(ARGV[a + 4 + m]) end

  local known = read('SMISMEMBER', seen, id, NEWER)
  if not known then return 'wrongtype' end
  if known[2] == 1 then return 'layout' end
  if known[1] == 1 then return 'dup' end
  if at < now - late_ms then return 'late' end
  if at > now + ahead_ms then return 'ahead' end

  local plans = {}
  for q = 1, periods do
    local first, until_ms = tonumber(ARGV[a + 15 + 2 * q]), tonumber(ARGV[a + 16 + 2 * q])
    local status
    plans[#plans + 1], status = plan(KEYS[first], nil, nil, deltas, until_ms)
    if status then return status end
    for d = 1, DIMENSIONS do
      plans[#plans + 1], status = plan(KEYS[first + 2 * d - 1], KEYS[first + 2 * d], ARGV[a + 10 + d], deltas, until_ms)
      if status then return status end
    end
  end

  if not may_write then
    local hash, names = KEYS[tonumber(ARGV[a + 17])], KEYS[tonumber(ARGV[a + 17]) + 2]
    need('PTTL', seen)
    need('PEXPIRE', seen, '1')
    need('HSET', hash, 'v', int(LAYOUT))
    need('HINCRBY', hash, 'i', '1') -- of later events too
    need('ZCARD', names) -- of later events too
    need('ZADD', names, '0', id)
    may_write = true
  end
  redis.call('SADD', seen, id)
  keep(seen, seen_until)
  for _, p in ipairs(plans) do apply(p) end
  return 'charged'
end

local out, a = {'ok'}, 1
while a <= #ARGV do
  out[#out + 1] = record(a)
  out[#out + 1] = int(now)
  a = a + 17 + 2 * tonumber(ARGV[a + 14])
end
return out
