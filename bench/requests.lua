-- wrk's requests. Arguments: the kind; for payments also a part of the keys that no other run has,
-- the number of accounts and, where tokens are needed, a file with one on each line, which take turns;
-- for histories the number of accounts.
--   uniform    PUT /send_payment with a new key each, from any account to any other
--   bulk       PUT /send_payments with 50 such payments
--   one-payee  PUT /send_payment with a new key each, all to account 1
--   histories  GET /payment_history/{user} of any account
--   url        GET the URL of the command line
-- Prints a line `result DONE FAILED PER_SECOND P50 P95 P99`, the last three in microseconds.

local threads = 0

function setup(thread)
  threads = threads + 1
  thread:set("number", threads)
end

local kind, run, accounts, head
local heads = {}
local count = 0

function init(args)
  kind = args[1]
  run, accounts = args[2], tonumber(args[3])
  math.randomseed(os.time() * 100 + number)
  -- Written out, because wrk.format() builds every header anew and costs as much as the rest.
  local host = " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port
  if kind == "uniform" or kind == "bulk" or kind == "one-payee" then
    local path = kind == "bulk" and "/send_payments" or "/send_payment"
    local function head_with(token)
      return "PUT " .. path .. host .. token
        .. "\r\nContent-Type: application/json\r\nContent-Length: "
    end
    if args[4] then
      for token in io.lines(args[4]) do
        heads[#heads + 1] = head_with("\r\nAuthorization: Bearer " .. token)
      end
    else
      heads[1] = head_with("")
    end
    request = kind == "bulk" and pay_many or pay
  elseif kind == "histories" then
    head = host .. "\r\n\r\n"
    accounts = tonumber(args[2])
    request = read
  else
    local get = wrk.format("GET")
    request = function() return get end
  end
end

-- Payments in a bulk. Its answer is 200 whatever comes of them: the payments in the ledger are counted.
local in_one = 50

local function payment()
  count = count + 1
  local from, to
  if kind == "one-payee" then
    from, to = math.random(2, accounts), 1
  else
    from, to = math.random(accounts), math.random(accounts - 1)
    if to >= from then to = to + 1 end
  end
  return string.format('{"from":%d,"to":%d,"amount":1,"idempotency_key":"%s-%02d-%09d"}',
    from, to, run, number, count)
end

local function send(body)
  return heads[count % #heads + 1] .. #body .. "\r\n\r\n" .. body
end

function pay()
  return send(payment())
end

function pay_many()
  local payments = {}
  for n = 1, in_one do payments[n] = payment() end
  return send('{"payments":[' .. table.concat(payments, ",") .. "]}")
end

function read()
  return "GET /payment_history/" .. math.random(accounts) .. head
end

function done(summary, latency)
  local errors = summary.errors
  local failed = errors.status + errors.connect + errors.read + errors.write + errors.timeout
  local good = summary.requests - errors.status
  print(string.format("result %d %d %.1f %d %d %d", good, failed,
    good / summary.duration * 1000000,
    latency:percentile(50), latency:percentile(95), latency:percentile(99)))
end
