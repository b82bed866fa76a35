#!lua
-- Adds work, or raises the wanted version of work that is already known.
--
-- KEYS[1]  the shard's prefix, "q:{q00}:"
-- ARGV[1]  epoch
-- ARGV[2]  entries (at most 1000), each "<c48dBB": key, version, class, expedite (0 or 1)
-- Returns  how many keys became ready; or the error NOEPOCH.
--
-- A known key coalesces: wanted = max(wanted, version). A ready key keeps its place and class, since moving it would
-- cost a walk through its list. A leased key becomes dirty by its version. A delayed key stays delayed unless expedite
-- is set. A leased or delayed key takes the more urgent class for its next time in line.
-- Without allow-oom: at maxmemory this is refused before it starts, and the backlog stays in PostgreSQL.

if is_other_epoch() then
  return redis.error_reply(NOEPOCH)
end

local ENTRY = '<c48dBB'

local function parse(blob)
  local entries, keys, pos = {}, {}, 1
  while pos <= #blob do
    local entry = {}
    entry.key, entry.version, entry.class, entry.expedite, pos = struct.unpack(ENTRY, blob, pos)
    entries[#entries + 1] = entry
    keys[#keys + 1] = entry.key
  end
  return entries, keys
end

local entries, keys = parse(ARGV[2])
local jobs, line, undelayed, ready = read(keys), {}, {}, 0
for _, entry in ipairs(entries) do
  local job = jobs[entry.key]
  if not job then
    job = { fence = 0, version = entry.version, attempts = 0, stale = 0, class = entry.class }
    jobs[entry.key] = job
    join(line, entry.key, job)
    ready = ready + 1
  else
    job.version = math.max(job.version, entry.version)
    if job.state ~= READY then
      job.class = math.min(job.class, entry.class)
    end
    if job.state == DELAYED and entry.expedite == 1 then
      undelayed[#undelayed + 1] = entry.key
      join(line, entry.key, job)
      ready = ready + 1
    end
  end
end

local was_empty = is_ring_empty()
save(jobs)
batch('ZREM', 'D', undelayed)
form(line, 'RPUSH')
wake_if(was_empty)
return ready
