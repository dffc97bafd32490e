-- base: what every session script stands behind; the layout is in head.lua.
-- KEYS and ARGV are those of the script that follows.
-- returns nothing by itself; the others' statuses {"corrupt"} | {"layout"} are from here

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

-- Whether it was written; false where the server takes no writes now. It says so of a script's first write alone, so
-- what follows one is written too. A replica's refusal is raised: it tells the client to look for the master.
local function wrote(...)
  local answer = redis.pcall(...)
  if type(answer) ~= 'table' or not answer.err then return true end
  local why = string.match(answer.err, '^%-?(%u+)')
  if why == 'OOM' or why == 'NOREPLICAS' or why == 'MISCONF' then return false end
  error(answer)
end

-- Another layout than ours, or none.
local function not_ours(version)
  return {version and tonumber(version) > tonumber(LAYOUT) and 'layout' or 'corrupt'}
end

