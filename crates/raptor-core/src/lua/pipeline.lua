-- pipeline: runs the commands that ARGV holds, in order, with nobody else's in between.
-- KEYS[*]  the commands' keys, declared for routing; they stand in ARGV too
-- ARGV...  a command: n words int >= 1, then its n words, the name first
-- returns {"ok", a command: {"ok", reply} | {"error", message} | {"inexact"}, ...}
-- inexact: it ran, and its reply is an integer that Lua cannot hold.
local EXACT = 9007199254740992 -- 2^53: from here on numbers are not exact
-- Who answers with a stored integer, and who tells it in full.
local READ_WITH = { INCR = 'GET', INCRBY = 'GET', DECR = 'GET', DECRBY = 'GET', HINCRBY = 'HGET' }

local function exact(name, key, field)
  local full = READ_WITH[name] == 'GET' and redis.pcall('GET', key)
    or READ_WITH[name] == 'HGET' and redis.pcall('HGET', key, field)
  return type(full) == 'string' and { 'ok', full } or { 'inexact' }
end

local out, at, filled = { 'ok' }, 1, 1
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
