-- report: a period's totals, and one page of names for each dimension asked for.
-- KEYS[1]        totals hash; then for each dimension
-- KEYS[2d]       hash  "<metric>:<name>" -> count
-- KEYS[2d + 1]   names zset, all scores 0: ordered by the bytes of the name
-- ARGV[1]        limit  int 1..1000, names a page
-- ARGV[1 + d]    where the page starts, as ZRANGEBYLEX wants it: '-' or '(' and the last name seen
-- returns {"ok", totals, page, ...} | {"layout", version} | {"corrupt"}
--   totals  {input, output, cached, requests, micros, pico}, text or nil
--   page    {"more" | "end", name, input, output, cached, requests, micros, pico, name, ...}

local LAYOUT = 1
local METRICS = {'i', 'o', 'c', 'r', 'u', 'p'}
local limit = tonumber(ARGV[1])

local version = redis.call('HGET', KEYS[1], 'v')
if version and not tonumber(version) then return {'corrupt'} end
if version and tonumber(version) > LAYOUT then return {'layout', version} end

local out = {'ok', redis.call('HMGET', KEYS[1], unpack(METRICS))}
for d = 1, (#KEYS - 1) / 2 do
  local hash, names = KEYS[2 * d], KEYS[2 * d + 1]
  local found = redis.call('ZRANGEBYLEX', names, ARGV[1 + d], '+', 'LIMIT', '0', string.format('%.0f', limit + 1))
  local page = {#found > limit and 'more' or 'end'}
  for n = 1, math.min(#found, limit) do
    local fields = {}
    for m = 1, #METRICS do fields[m] = METRICS[m] .. ':' .. found[n] end
    local held = redis.call('HMGET', hash, unpack(fields))
    page[#page + 1] = found[n]
    for m = 1, #METRICS do page[#page + 1] = held[m] end
  end
  out[#out + 1] = page
end
return out
