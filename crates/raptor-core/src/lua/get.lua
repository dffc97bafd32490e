-- get: reads n strings.
-- KEYS[i]  string
-- returns {"ok", value | nil | {error}, ...}
local out = {'ok'}
for i = 1, #KEYS do
  local value = redis.pcall('GET', KEYS[i])
  out[i + 1] = type(value) == 'table' and { value.err } or value
end
return out
