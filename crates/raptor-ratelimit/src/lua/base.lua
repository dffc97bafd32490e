-- base: what all parts of the script that decides share. The parts are put together in script.rs:
--   base, one file an algorithm, ruling, decide. An algorithm is a table of
--   shape(p)                 fills in what follows from p.limit, p.window, p.burst and p.now
--   fresh(s, p)              makes `s` the state of nothing taken
--   anchor(s, sum, p)        makes `s` the state of `sum` units taken now
--   load(s, value, p)        reads `value` into `s`, or tells why not: 'other' | 'corrupt'
--   retry(s, cost, p)        us until `cost` fits, nil when the state turns out to be corrupt
--   reset(s, p)              us until the whole limit is back
--   pack(s, cost, p)         the value with `cost` taken now, and how many us it is of use
--   give(s, units, mark, p)  takes `units` charged at `mark` back out of `s`; how many there were
-- In `s` each keeps `sum`, the units that count now; `anchored` says that they were moved to now.
-- returns nothing: it is no script of its own
local call, pcall = redis.call, redis.pcall
local floor, ceil, max, min = math.floor, math.ceil, math.max, math.min
local match, gmatch, format = string.match, string.gmatch, string.format
local byte, char, sub = string.byte, string.char, string.sub
local DOLLAR = 36
local EXACT = 9007199254740992 -- 2^53: from here on numbers are not exact

local time = call('TIME')
local server_now = time[1] * 1000000 + time[2]
local now, ttl_floor_ms -- of the request at hand

-- A batch repeats few numbers: each is written out once.
local decimals = {}
local function decimal(n)
  local text = decimals[n]
  if not text then
    text = format('%.0f', n)
    decimals[n] = text
  end
  return text
end
