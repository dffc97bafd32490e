-- pipeline: runs the commands that ARGV holds, in order, with nobody else's in between.
-- KEYS[*]  the commands' keys, declared for routing; they stand in ARGV too
-- ARGV...  a command: n words int >= 1, then its n words, the name first
-- returns {"ok", a command: {"ok", reply} | {"error", message} | {"inexact"} | {"stopped", n}, ...}
-- inexact: it ran, and its reply is an integer that Lua cannot hold.
-- stopped: nothing ran, since the ACL forbids the n-th command, which has the error.
local EXACT = 9007199254740992 -- 2^53: from here on numbers are not exact
-- Who answers with a stored integer, and who tells it in full.
local READ_WITH = { INCR = 'GET', INCRBY = 'GET', DECR = 'GET', DECRBY = 'GET', HINCRBY = 'HGET' }

local function exact(name, key, field)
  local full = READ_WITH[name] == 'GET' and redis.pcall('GET', key)
    or READ_WITH[name] == 'HGET' and redis.pcall('HGET', key, field)
  return type(full) == 'string' and { 'ok', full } or { 'inexact' }
end

-- The first command that may not be run, and the refusal. Not every server can be asked, and what it
-- cannot tell of (no such command) fails alone later. The keys were checked when this script was called,
-- so one of them stands for whatever follows: asked about a command with too few words, servers crash.
local function forbidden()
  local at, nth, asked, key = 1, 1, {}, KEYS[1]
  while redis.acl_check_cmd and key and at <= #ARGV do
    local n, name, first = tonumber(ARGV[at]), ARGV[at + 1], key
    if n > 1 then first = ARGV[at + 2] end -- a sub-command, perhaps
    if not asked[name] then
      asked[name] = true
      local known, allowed = pcall(redis.acl_check_cmd, name, first, key, key, key, key, key)
      if known and not allowed then
        local refusal = redis.pcall(unpack(ARGV, at + 1, at + n)) -- into the ACL's log too
        return nth, type(refusal) == 'table' and refusal.err or 'NOPERM'
      end
    end
    at, nth = at + 1 + n, nth + 1
  end
end

local stopped_by, refusal = forbidden()
local out, at, filled = { 'ok' }, 1, 1
while stopped_by and at <= #ARGV do
  out[filled + 1] = filled == stopped_by and { 'error', refusal } or { 'stopped', stopped_by }
  at, filled = at + 1 + tonumber(ARGV[at]), filled + 1
end
while at <= #ARGV do
  local n = tonumber(ARGV[at])
  local reply = redis.pcall(unpack(ARGV, at + 1, at + n))
  local failed = type(reply) == 'table' and reply.err
  -- A server that takes no writes has let none through before: this refuses the whole.
  if failed and string.find(failed, '^%-?READONLY') then return reply end
  filled = filled + 1
  if failed then
    out[filled] = { 'error', failed }
  elseif type(reply) == 'number' and math.abs(reply) >= EXACT then
    out[filled] = exact(ARGV[at + 1], ARGV[at + 2], ARGV[at + 3])
  else
    out[filled] = { 'ok', reply }
  end
  at = at + 1 + n
end
return out
