-- get_and_set: writes a string and gives what it held.
-- KEYS[1] key     string
-- ARGV[1] new     bytes
-- ARGV[2] expiry  'keep' | 'never' | 'in' | 'created'
-- ARGV[3] ttl_ms  int >= 1; '' where there is none
-- returns {"set", previous or nil}
local key, new, expiry, ttl_ms = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local previous = redis.call('GET', key) -- another type raises here, before anything is written
if expiry == 'in' or (expiry == 'created' and not previous) then
  redis.call('SET', key, new, 'PX', ttl_ms)
elseif expiry == 'never' then
  redis.call('SET', key, new)
else
  redis.call('SET', key, new, 'KEEPTTL')
end
return { 'set', previous }
