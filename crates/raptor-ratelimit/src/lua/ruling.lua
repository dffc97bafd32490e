-- ruling: what stands before a state that an operator ruled on, or that lost its history:
--   'R1W<limit>;<until>;<blocked>;<epoch>;' and then the state, which may be empty
--   limit    instead of the policy's, up to `until`, in us; '-' for none
--   blocked  until when nothing is admitted, in us
--   epoch    changes when what was taken is forgotten or moved; receipts of another epoch are void
-- A key without a ruling has epoch 0, so the common case neither stores nor reads any of this.
-- returns nothing: a part of the scripts that decide and that rule
local RULING = '^R1W([%d-]*);(%d+);(%d+);(%d+);()'
local MAX_EPOCH = 9007199254740991

local function exact(text)
  return #text <= 16 and tonumber(text) <= MAX_EPOCH
end

-- The ruling before a state, where the state begins, or nil.
local function ruling_of(value)
  local limit, till, blocked, epoch, pos = string.match(value, RULING)
  if not pos or not (exact(till) and exact(blocked) and exact(epoch)) then return nil end
  if limit ~= '-' and not (string.match(limit, '^%d+$') and exact(limit)) then return nil end
  return { limit = limit ~= '-' and tonumber(limit), till = till + 0, blocked = blocked + 0, epoch = epoch + 0 }, pos
end

local function written(ruling)
  local limit = ruling.limit and string.format('%.0f', ruling.limit) or '-'
  return string.format('R1W%s;%.0f;%.0f;%.0f;', limit, ruling.till, ruling.blocked, ruling.epoch)
end

-- Another epoch than any before, as long as one of those is remembered.
local function next_epoch(epoch, server_us)
  return math.min(MAX_EPOCH, math.max(epoch + 1, server_us))
end
