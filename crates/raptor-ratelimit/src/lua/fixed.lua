-- fixed: the fixed window, aligned to the clock. State, layout 1: 'R1F<window_us>;<start>;<count>$'
--   start  when the window began: a multiple of its length, or when it was anchored
-- returns nothing: a part of the script that decides, see base.lua
local function new_fixed(decimal)
  local min, match, format = math.min, string.match, string.format
  local EXACT = 9007199254740992 -- from 2^53 on numbers are not exact
  local fixed = { shape = false, fresh = false, anchor = false, load = false, retry = false, pack = false, give = false, reset = false } -- with room for all of them
  local FIXED_HEADER = '^R1F(%d+);(%d+);(%d+)%$$'

  function fixed.shape(p)
    p.capacity, p.aligned = p.limit, p.now - p.now % p.window
  end

  function fixed.fresh(s, p)
    s.start, s.sum = p.aligned, 0
  end

  function fixed.anchor(s, sum, p)
    s.start, s.sum, s.anchored = p.now, sum, true
  end

  function fixed.load(s, value, p)
    local window, start, count = match(value, FIXED_HEADER)
    if not window then return match(value, '^R1F') and 'corrupt' or 'other' end
    window, start, count = window + 0, start + 0, count + 0
    if count >= EXACT or start >= EXACT or window >= EXACT then return 'corrupt' end
    if p.now >= start + window then return fixed.fresh(s, p) end -- it is over
    s.back = p.now < start
    if s.back or window ~= p.window then return fixed.anchor(s, count, p) end
    s.start, s.sum = start, count
  end

  function fixed.retry(s, _, p)
    return s.start + p.window - p.now
  end
  fixed.reset = function(s, p) return fixed.retry(s, 0, p) end

  function fixed.pack(s, cost, p)
    local value = format('R1F%s;%s;%s$', p.text, decimal(s.start), decimal(s.sum + cost))
    return value, s.start + p.window - p.now
  end

  function fixed.give(s, units, mark)
    if mark < s.start then return 0 end
    local given = min(units, s.sum)
    s.sum = s.sum - given
    return given
  end

  return fixed
end
