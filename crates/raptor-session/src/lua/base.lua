-- base: what every session script stands behind; the layout is in head.lua.
-- KEYS and ARGV are those of the script that follows.
-- returns nothing by itself

local LAYOUT = '1'
local NEWER = 'v2' -- a member of every index of a newer layout
local MAX = 253402300799999 -- of any number in a head: the last millisecond of the year 9999, which the server can add to

local function int(n)
  return string.format('%.0f', n)
end

-- Raises what an ACL forbids of a later step before the first write. Not every server can be asked.
local allowed = redis.acl_check_cmd
local function need(...)
  if allowed and not allowed(...) then redis.call(...) end
end

-- Another layout than ours, or none.
local function not_ours(version)
  return {version and tonumber(version) > tonumber(LAYOUT) and 'layout' or 'corrupt'}
end

