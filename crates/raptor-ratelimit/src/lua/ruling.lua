-- ruling: what stands before a state that an operator ruled on, or that lost its history:
--   'R1W<limit>;<until>;<blocked>;<epoch>;' and then the state, which may be empty
--   limit    instead of the policy's, up to `until`, in us; '-' for none
--   blocked  until when nothing is admitted, in us
--   epoch    changes when what was taken is forgotten or moved; receipts of another epoch are void
-- A key without a ruling has epoch 0, so the common case neither stores nor reads any of this.
-- returns nothing: a part of the scripts that decide and that rule
local function new_ruling()
  local match, format = string.match, string.format
  local MOST = 9007199254740991
  local ruling = {}

  -- The ruling before a state, and where the state begins; or nil.
  function ruling.of(value)
    local limit, till, blocked, epoch, pos = match(value, '^R1W([%d-]+);(%d+);(%d+);(%d+);()')
    if not pos then return nil end
    local numbers = { till, blocked, epoch, limit ~= '-' and limit or '0' }
    for i = 1, 4 do
      if not match(numbers[i], '^%d+$') or #numbers[i] > 16 or tonumber(numbers[i]) > MOST then return nil end
    end
    if limit ~= '-' and limit + 0 < 1 then return nil end
    return { limit = limit ~= '-' and tonumber(limit), till = till + 0, blocked = blocked + 0, epoch = epoch + 0 }, pos
  end

  function ruling.text(ruled)
    local limit = ruled.limit and format('%.0f', ruled.limit) or '-'
    return format('R1W%s;%.0f;%.0f;%.0f;', limit, ruled.till, ruled.blocked, ruled.epoch)
  end

  -- Another epoch than any before, as long as one of those is remembered.
  function ruling.next_epoch(epoch, server_us)
    return math.min(MOST, math.max(epoch + 1, server_us))
  end

  return ruling
end
