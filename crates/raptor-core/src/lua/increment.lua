-- increment: adds to an integer unless the sum would leave its bounds; exact over all of int64.
-- KEYS[1] key     string  a decimal integer, missing is 0
-- ARGV[1] by      int64
-- ARGV[2] least   the least current value that may be added to: the lower bound - by, any size
-- ARGV[3] most    the greatest: the upper bound - by
-- ARGV[4] expiry  'keep' | 'never' | 'in' | 'created'
-- ARGV[5] ttl_ms  int >= 1; '' where there is none
-- returns {"ok", sum} | {"out_of_bounds", current} | {"not_an_integer"}, numbers as text
local key, by, least, most, expiry, ttl_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]

-- Numbers stay text: Lua's own are not exact beyond 2^53. Of two magnitudes the longer is the
-- greater; of equal lengths the first ten digits decide, then the rest, each part exact.
local function compare_digits(a, b)
  if #a ~= #b then return #a - #b end
  local high = tonumber(string.sub(a, 1, 10)) - tonumber(string.sub(b, 1, 10))
  if high ~= 0 or #a <= 10 then return high end
  return tonumber(string.sub(a, 11)) - tonumber(string.sub(b, 11))
end

local function less(a, b)
  local a_minus, a_digits = string.match(a, '^(%-?)(%d+)$')
  local b_minus, b_digits = string.match(b, '^(%-?)(%d+)$')
  if a_minus ~= b_minus then return a_minus == '-' end
  if a_minus == '-' then return compare_digits(a_digits, b_digits) > 0 end
  return compare_digits(a_digits, b_digits) < 0
end

-- Raises what an ACL forbids of a later step before the first write. Not every server can be asked.
local function need(...)
  if redis.acl_check_cmd and not redis.acl_check_cmd(...) then redis.call(...) end
end

local stored = redis.call('GET', key) -- another type raises here, before anything is written
local current = stored or '0'
local written_well = current == '0' or string.match(current, '^%-?[1-9]%d*$')
if not written_well or #current > 20 or less(current, '-9223372036854775808') or less('9223372036854775807', current) then
  return { 'not_an_integer' }
end
if less(current, least) or less(most, current) then return { 'out_of_bounds', current } end
local expires = expiry == 'in' or (expiry == 'created' and not stored)
if expires then need('PEXPIRE', key, ttl_ms) end
if expiry == 'never' then need('PERSIST', key) end
redis.call('INCRBY', key, by)
if expires then redis.call('PEXPIRE', key, ttl_ms) end
if expiry == 'never' then redis.call('PERSIST', key) end
return { 'ok', redis.call('GET', key) }
