#include "tests/support/verify_load/register_history.hpp"

#include <algorithm>

#include "base/check.hpp"

namespace mpath::verify {

std::uint64_t RegisterHistory::begin_write(std::uint64_t block) {
  Register& reg = registers_[block];
  reg.candidates.push_back(Candidate{.seq = ++reg.issued, .began = ++now_});
  ++reg.in_flight;
  return reg.issued;
}

void RegisterHistory::ack_write(std::uint64_t block, std::uint64_t seq) {
  Register& reg = registers_[block];
  --reg.in_flight;
  ++reg.acked;
  ++acked_;
  const auto it = std::ranges::find(reg.candidates, seq, &Candidate::seq);
  CHECK(it != reg.candidates.end());  // only answered writes are ever dropped
  it->answer = Answer::acked;
  it->answered = ++now_;
  supersede(reg, seq);
}

void RegisterHistory::lose_write(std::uint64_t block, std::uint64_t seq) {
  Register& reg = registers_[block];
  --reg.in_flight;
  const auto it = std::ranges::find(reg.candidates, seq, &Candidate::seq);
  CHECK(it != reg.candidates.end());
  it->answer = Answer::lost;
}

void RegisterHistory::begin_read(std::uint64_t block, ReadTicket& ticket) const {
  const Register& reg = registers_[block];
  ticket.block = block;
  ticket.issued = reg.issued;
  ticket.acked = reg.acked;
  ticket.blank_allowed = reg.blank_allowed;
  ticket.raced = reg.in_flight != 0;
  ticket.allowed.clear();
  for (const Candidate& candidate : reg.candidates) ticket.allowed.push_back(candidate.seq);
}

Verdict RegisterHistory::end_read(const ReadTicket& ticket, std::uint64_t seq) {
  Register& reg = registers_[ticket.block];
  if (seq > reg.issued) return Verdict::forged;
  if (seq == 0) {
    if (!ticket.blank_allowed) return Verdict::lost;
  } else if (seq <= ticket.issued && std::ranges::find(ticket.allowed, seq) == ticket.allowed.end()) {
    return Verdict::stale;
  } else {
    supersede(reg, seq);
  }
  if (ticket.acked > reg.verified) {
    verified_ += ticket.acked - reg.verified;
    reg.verified = ticket.acked;
  }
  return Verdict::good;
}

bool RegisterHistory::raced(const ReadTicket& ticket) const {
  return ticket.raced || registers_[ticket.block].issued != ticket.issued;
}

void RegisterHistory::supersede(Register& reg, std::uint64_t seq) {
  const auto it = std::ranges::find(reg.candidates, seq, &Candidate::seq);
  if (it == reg.candidates.end()) return;
  const std::uint64_t began = it->began;
  reg.blank_allowed = false;
  std::erase_if(reg.candidates, [began](const Candidate& candidate) {
    return candidate.answer == Answer::acked && candidate.answered < began;
  });
}

}  // namespace mpath::verify
