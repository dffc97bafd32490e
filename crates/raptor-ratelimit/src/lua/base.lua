-- base: what the parts of the script that decides share; script.rs puts them together:
--   base, one file an algorithm, ruling, decide. A file of an algorithm makes a table of
--   shape(p)                 fills in what follows from p.limit, p.window, p.burst and p.now
--   fresh(s, p)              makes `s` the state of nothing taken
--   anchor(s, sum, p)        makes `s` the state of `sum` units taken now
--   load(s, value, p)        reads `value` into `s`, or tells why not: 'other' | 'corrupt'
--   retry(s, cost, p)        us until `cost` fits, nil when the state turns out to be corrupt
--   reset(s, p)              us until the whole limit is back
--   pack(s, cost, p)         the value with `cost` taken now, and how many us it is of use
--   give(s, units, mark, p)  takes `units` charged at `mark` back out of `s`; how many there were
-- In `s` each keeps `sum`, the units that count now; `anchored` says that they were moved to now,
-- and `back` that it was for a clock that went back.
-- An algorithm is made when the first limit asks for it, and makes no use of what stands outside of
-- its function: closures over this chunk would be paid by every call of the script.
-- returns nothing: it is no script of its own

-- A batch repeats few numbers: each is written out once.
local decimals = {}
local function decimal(n)
  local text = decimals[n]
  if not text then
    text = string.format('%.0f', n)
    decimals[n] = text
  end
  return text
end
