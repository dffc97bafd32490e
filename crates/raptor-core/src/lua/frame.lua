-- frame: what stands behind every script's body, and runs it so that its reply cannot be mistaken.
-- ARGV[n]  the last one is the call's tag, taken off before the body sees it
-- returns {tag, "R", reply} | {tag, "E", message} of an error from inside | {tag, "U", what} is unsafe
local tag = ARGV[#ARGV]
ARGV[#ARGV] = nil
local ran, reply = pcall(body)
local kind = type(reply)
if ran and kind ~= 'table' then return {tag, 'R', reply} end

-- Refuses what a client could not read, or what would run code while the server reads it. The server
-- reads a table's elements from 1 to the first that is nil, and these fields.
local function unsafe(value, depth)
  if depth > 32 then return 'a table more than 32 deep' end
  if getmetatable(value) ~= nil then return 'a table with a metatable' end
  if value.map ~= nil then return 'a table with the field map' end
  if value.set ~= nil then return 'a table with the field set' end
  if value.big_number ~= nil then return 'a table with the field big_number' end
  if value.verbatim_string ~= nil then return 'a table with the field verbatim_string' end
  -- Sent as a line, which clients read as text: other bytes end or wedge the connection. The outermost
  -- error is not, see below.
  local line = depth > 1 and value.err or value.ok
  if type(line) == 'string' and string.find(line, '[\128-\255]') then return 'a status that is not ASCII' end
  local i = 1
  local inner = value[1]
  while inner ~= nil do
    if type(inner) == 'table' then
      local why = unsafe(inner, depth + 1)
      if why then return why end
    end
    i = i + 1
    inner = value[i]
  end
end
local why = kind == 'table' and unsafe(reply, 1)
if why then return {tag, 'U', why} end

local failed = kind == 'table' and reply.err
if ran and not failed then return {tag, 'R', reply} end
failed = tostring(failed or reply)
-- A replica that refuses writes has let nothing through before, so this is a refusal of the whole.
if string.find(failed, '^%-?READONLY') then
  local info = redis.pcall('INFO', 'replication')
  if type(info) == 'string' and string.find(info, 'role:slave') and string.find(info, 'slave_read_only:1') then
    return redis.error_reply((string.gsub(failed, '[\128-\255]', '?')))
  end
end
return {tag, 'E', failed}
