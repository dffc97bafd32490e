-- compare_and_set: writes a string if it holds what the caller expects.
-- KEYS[1] key       string
-- ARGV[1] want      'missing' | 'bytes'
-- ARGV[2] expected  bytes; '' where it is to be missing
-- ARGV[3] new       bytes
-- ARGV[4] expiry    'keep' | 'never' | 'in' | 'created'
-- ARGV[5] ttl_ms    int >= 1; '' where there is none
-- returns {"swapped"} | {"mismatch", current or nil}
local key, want, expected, new, expiry, ttl_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local current = redis.call('GET', key) -- another type raises here, before anything is written
local fits = current == expected
if want == 'missing' then fits = not current end
if not fits then return { 'mismatch', current } end
if expiry == 'in' or (expiry == 'created' and not current) then
  redis.call('SET', key, new, 'PX', ttl_ms)
elseif expiry == 'never' then
  redis.call('SET', key, new)
else
  redis.call('SET', key, new, 'KEEPTTL')
end
return { 'swapped' }
