-- One instance tells what it has taken of an account's cells and asks for more; one call, one account.
--
-- KEYS[1]  the account: a hash with a row `i:INSTANCE` for each instance and the debt `b:CELL` of each bucket.
-- KEYS[2]  the epoch of the partition, in the same slot of a cluster.
-- ARGV     instance, boot, the epoch it believes in; then ten for each cell:
--          name, kind (w, c or r), end of the window, ceiling (-1: none), used, held, keep, extra, need, debt
-- returns  -1 where the epoch is another; else 1 or 0, whether grants are made, and four for each cell:
--          share, what others used, what others hold, whether little is left; of buckets share, debt, 0, little.
--
-- A row says absolute amounts, so that hearing it twice changes nothing. `keep` is what the instance may take
-- already, `extra` what it needs on top, -1 where it asks for nothing. What is granted beyond is a slice of what is left, and nothing at all
-- once fewer than SCARCE such needs are left: then each is asked for, and nothing lies unused elsewhere.
local LEASE_MS, GRACE_MS, REBUILD_MS, KEPT_MS, SCARCE, SLICE = 5000, 1000, 4000, 3456000000, 50, 64
local known = redis.call('HMGET', KEYS[2], 'id', 'settled', 'born')
if known[1] ~= ARGV[3] then return { -1 } end
local time = redis.call('TIME')
local now_us = time[1] * 1000000 + time[2]
local now = math.floor(now_us / 1000)

-- After a loss every instance tells its own part before anything is granted.
local settled = known[2] == '1'
if not settled and now - known[3] >= GRACE_MS then
  settled = true
  local parts = redis.call('HGETALL', KEYS[2])
  for i = 1, #parts, 2 do
    if parts[i]:sub(1, 2) == 'r:' and now - parts[i + 1] < REBUILD_MS then settled = false end
  end
  if settled then redis.call('HSET', KEYS[2], 'settled', '1') end
end

local others, mine, live, own = {}, nil, 1, 'i:' .. ARGV[1]
local buckets, rows = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #rows, 2 do
  local field, value = rows[i], rows[i + 1]
  if field == own then
    mine = cmsgpack.unpack(value)
  elseif field:sub(1, 2) == 'b:' then
    buckets[field] = value
  else
    local row = cmsgpack.unpack(value)
    row.live = now - row.seen < LEASE_MS
    -- What a dead process said is void once its instance is back and has told all there is.
    local back = redis.call('HGET', KEYS[2], 'k:' .. field:sub(3)) or ''
    local boot, ready = back:match('(%S+) (%S+)')
    local void = boot and boot ~= row.boot and row.seen <= tonumber(ready)
    if void or now - row.seen >= KEPT_MS then
      redis.call('HDEL', KEYS[1], field)
    else
      others[#others + 1] = row
      if row.live then live = live + 1 end
    end
  end
end

local cells, reply = {}, { settled and 1 or 0 }
-- `spare` of what may be taken already is neither used nor held.
local function grant(left, extra, need, spare)
  if not settled or left <= 0 then return 0, true end
  local granted = math.min(math.max(extra, 0), left)
  left = left - granted
  if need <= 0 or left < need * SCARCE then return granted, need > 0 end
  if extra < 0 then return granted, false end
  local slice = math.min(need * SLICE, math.floor(left / (4 * live)))
  return granted + math.max(0, slice - math.max(0, spare)), false
end
for at = 4, #ARGV, 10 do
  local name, kind, ends = ARGV[at], ARGV[at + 1], ARGV[at + 2]
  local ceiling, used, held = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local keep, extra, need = tonumber(ARGV[at + 6]), tonumber(ARGV[at + 7]), tonumber(ARGV[at + 8])
  if kind == 'r' then
    local field, seen = 'b:' .. name, tonumber(ARGV[at + 9])
    local debt, bucket = seen, buckets['b:' .. name]
    if bucket then
      local then_debt, then_us = bucket:match('(%S+) (%S+)')
      debt = math.max(0, then_debt - math.max(0, now_us - then_us) * ceiling / 60000000)
    end
    local before = mine and mine.boot == ARGV[2] and mine.c[name] and mine.c[name][1]
    if not before then debt, before = math.max(debt, seen), keep end
    debt = math.max(0, debt + keep - before)
    local more, scarce = grant(math.floor(ceiling - debt + 0.000001), extra, need, keep - used)
    debt = debt + more
    redis.call('HSET', KEYS[1], field, string.format('%.6f %.0f', debt, now_us))
    cells[name] = { keep + more }
    local last = #reply
    reply[last + 1], reply[last + 2] = keep + more, math.floor(debt * 1000000)
    reply[last + 3], reply[last + 4] = 0, scarce and 1 or 0
  else
    local spent, set_aside = 0, 0
    for _, row in ipairs(others) do
      local cell = row.c[name]
      if cell and cell[1] == ends then
        if kind == 'w' then spent = spent + cell[2] end
        if row.live then
          set_aside = set_aside + math.max(cell[3], cell[4] - cell[2])
        elseif kind == 'w' then
          set_aside = set_aside + cell[3]
        end
      end
    end
    local base = math.max(keep, used + held)
    local more, scarce = 0, false
    if ceiling >= 0 then more, scarce = grant(ceiling - spent - set_aside - base, extra, need, keep - used - held) end
    cells[name] = { ends, used, held, base + more }
    local last = #reply
    reply[last + 1], reply[last + 2] = base + more, spent
    reply[last + 3], reply[last + 4] = set_aside, scarce and 1 or 0
  end
end
redis.call('HSET', KEYS[1], own, cmsgpack.pack({ seen = now, boot = ARGV[2], c = cells }))
redis.call('PEXPIRE', KEYS[1], KEPT_MS)
return reply
