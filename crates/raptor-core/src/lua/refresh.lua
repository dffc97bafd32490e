-- refresh: sets a key's TTL if a condition holds.
-- KEYS[1] key        any type
-- ARGV[1] ttl_ms     int >= 1
-- ARGV[2] condition  'exists' | 'below' | 'longer'
-- ARGV[3] below_ms   int >= 1; '' unless the condition is 'below'
-- returns {"refreshed"} | {"kept", pttl}: -2 missing, -1 without a TTL, else ms
local key, ttl_ms, condition, below_ms = KEYS[1], ARGV[1], ARGV[2], tonumber(ARGV[3])
local left = redis.call('PTTL', key)
local holds = left ~= -2
if condition == 'below' then holds = left >= 0 and left < below_ms end
if condition == 'longer' then holds = left >= 0 and left < tonumber(ttl_ms) end
if not holds then return { 'kept', left } end
redis.call('PEXPIRE', key, ttl_ms)
return { 'refreshed' }
