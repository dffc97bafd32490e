-- compare_and_delete: deletes a string if it holds what the caller expects.
-- KEYS[1] key       string
-- ARGV[1] expected  bytes
-- returns {"deleted"} | {"mismatch", current or nil}
local key, expected = KEYS[1], ARGV[1]
local current = redis.call('GET', key) -- another type raises here
if current ~= expected then return { 'mismatch', current } end
redis.call('DEL', key)
return { 'deleted' }
