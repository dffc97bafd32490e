-- counter: two windows, the one before weighted by how much of it is still in sight. State, layout 1:
--   'R1C<window_us>;<start>;<previous>;<current>$'
-- The weight falls in at most 10,000 steps, so that limit * steps is exact.
-- returns nothing: a part of the script that decides, see base.lua
local function new_counter(decimal)
  local floor, ceil, min, max, match, format = math.floor, math.ceil, math.min, math.max, string.match, string.format
  local EXACT = 9007199254740992 -- from 2^53 on numbers are not exact
  local counter = { shape = false, fresh = false, anchor = false, load = false, retry = false, reset = false, pack = false, give = false } -- with room for all of them
  local COUNTER_HEADER = '^R1C(%d+);(%d+);(%d+);(%d+)%$$'
  local STEPS = 10000
  local MOST = floor((EXACT - 1) / STEPS)

  function counter.shape(p)
    p.limit = min(p.limit, MOST) -- an override may name more
    p.capacity, p.aligned = p.limit, p.now - p.now % p.window
    p.step = ceil(p.window / STEPS)
    p.steps = ceil(p.window / p.step)
  end

  function counter.fresh(s, p)
    s.start, s.previous, s.current, s.sum = p.aligned, 0, 0, 0
  end

  -- As though it came just now, at the end of a window: all of it counts, and has faded a window later.
  function counter.anchor(s, sum, p)
    s.start, s.previous, s.current = p.now, min(sum, MOST), 0
    s.sum, s.anchored = s.previous, true
  end

  -- What counts of both windows, by the steps of `p`.
  local function weighed(start, previous, current, p)
    local left = ceil((start + p.window - p.now) / p.step)
    return current + ceil(previous * left / p.steps)
  end

  function counter.load(s, value, p)
    local window, start, previous, current = match(value, COUNTER_HEADER)
    if not window then return match(value, '^R1C') and 'corrupt' or 'other' end
    window, start, previous, current = window + 0, start + 0, previous + 0, current + 0
    if window < 1 or window >= EXACT or start >= EXACT then return 'corrupt' end
    if previous * STEPS >= EXACT or current * STEPS >= EXACT then return 'corrupt' end
    s.back = p.now < start
    if s.back then return counter.anchor(s, previous + current, p) end
    if p.now >= start + 2 * window then return counter.fresh(s, p) end
    if p.now >= start + window then start, previous, current = start + window, current, 0 end
    if window ~= p.window then
      local old = { limit = p.limit, window = window, now = p.now }
      counter.shape(old)
      return counter.anchor(s, weighed(start, previous, current, old), p)
    end
    s.start, s.previous, s.current = start, previous, current
    s.sum = weighed(start, previous, current, p)
  end

  -- When a window in which `current` was taken leaves `room` beside it, counted from the window's end.
  local function fades(current, room, p)
    if current == 0 then return 0 end
    return max(0, p.window - floor(room * p.steps / current) * p.step)
  end

  function counter.retry(s, cost, p)
    local room = p.limit - cost - s.current
    if room >= 0 then return s.start + fades(s.previous, room, p) - p.now end
    return s.start + p.window + fades(s.current, p.limit - cost, p) - p.now
  end

  function counter.reset(s, p)
    return s.start + (s.current > 0 and 2 or 1) * p.window - p.now
  end

  function counter.pack(s, cost, p)
    local numbers = decimal(s.start) .. ';' .. decimal(s.previous) .. ';' .. decimal(s.current + cost)
    s.current = s.current + cost
    return format('R1C%s;%s$', p.text, numbers), s.start + 2 * p.window - p.now
  end

  function counter.give(s, units, mark, p)
    local given = 0
    if mark >= s.start then
      given = min(units, s.current)
      s.current = s.current - given
    elseif mark >= s.start - p.window then
      given = min(units, s.previous)
      s.previous = s.previous - given
    end
    s.sum = weighed(s.start, s.previous, s.current, p)
    return given
  end

  return counter
end
