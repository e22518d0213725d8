#include "tests/support/verify_load/load.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/check.hpp"

namespace mpath::verify {
namespace {

using std::chrono::milliseconds;

constexpr unsigned blocks_max = 16;  // 64 KiB
constexpr unsigned final_blocks = 16;
constexpr std::size_t fresh_max = 4096;
constexpr milliseconds connect_limit{2000};
constexpr milliseconds retry_pause{20};
constexpr milliseconds status_period{100};
constexpr unsigned flush_one_in = 256;  // requests
constexpr unsigned fua_one_in = 16;     // writes

std::uint64_t volume_id(std::uint64_t seed) {
  std::random_device device;
  return (static_cast<std::uint64_t>(device()) << 32 | device()) ^ seed;
}

}  // namespace

const char* name(FaultKind kind) {
  switch (kind) {
    case FaultKind::lost:
      return "lost";
    case FaultKind::stale:
      return "stale";
    case FaultKind::forged:
      return "forged";
    case FaultKind::misplaced:
      return "misplaced";
    case FaultKind::torn:
      return "torn";
    case FaultKind::damaged:
      return "damaged";
  }
  std::unreachable();
}

VerifyLoad::VerifyLoad(LoadOptions options, Clock& clock, LoadListener& listener)
    : options_(std::move(options)), clock_(clock), listener_(listener), random_(options_.seed) {}

VerifyLoad::~VerifyLoad() = default;

error_code VerifyLoad::open() {
  volume_ = volume_id(options_.seed);
  for (unsigned i = 0; i < options_.connections; ++i) {
    auto connection = std::make_unique<Connection>();
    if (const error_code failed = connection->client.connect(options_.address, connect_limit)) return failed;
    connection->slots.resize(options_.depth);
    size_bytes_ = connection->client.size_bytes();
    connections_.push_back(std::move(connection));
  }
  const std::uint64_t area = options_.area_bytes == 0 ? size_bytes_ : std::min(options_.area_bytes, size_bytes_);
  area_blocks_ = area / block_bytes;
  if (area_blocks_ < std::uint64_t{2} * blocks_max) return {ENOSPC, std::generic_category()};
  registers_ = std::make_unique<RegisterHistory>(area_blocks_);
  bad_.resize(area_blocks_);
  timeline_ = std::make_unique<Timeline>(clock_.now(), "start");
  return {};
}

LoadResult VerifyLoad::run() {
  const TimePoint now = clock_.now();
  stop_at_ = options_.duration == Duration::max() ? never : now + options_.duration;
  timeline_ = std::make_unique<Timeline>(now, "start");
  write_status();
  while (stage_ != Stage::done) loop_once();
  timeline_->finish(clock_.now());
  if (result_.end == LoadEnd::complete && !options_.backing_file.empty()) check_backing_file();
  result_.acked = registers_->acked();
  result_.verified = registers_->verified();
  for (const auto& connection : connections_) connection->client.disconnect();
  write_status();
  return std::move(result_);
}

void VerifyLoad::loop_once() {
  retry_connections();
  for (std::size_t i = 0; i < connections_.size(); ++i) {
    fill(i);
    NbdClient& client = connections_[i]->client;
    if (!client.connected()) continue;
    if (const error_code failed = client.flush_out()) lose_connection(i, failed);
  }

  std::vector<pollfd> fds;
  fds.reserve(connections_.size() + 1);
  for (const auto& connection : connections_) {
    const NbdClient& client = connection->client;
    const short events = static_cast<short>(POLLIN | (client.wants_write() ? POLLOUT : 0));
    fds.push_back(pollfd{.fd = client.connected() ? client.fd() : -1, .events = events, .revents = 0});
  }
  fds.push_back(pollfd{.fd = options_.control_fd, .events = POLLIN, .revents = 0});
  if (::poll(fds.data(), fds.size(), poll_timeout_ms()) > 0) {
    for (std::size_t i = 0; i < connections_.size(); ++i) {
      if ((fds[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
      replies_.clear();
      const error_code failed = connections_[i]->client.receive(replies_);
      for (const NbdReply& reply : replies_) take_reply(i, reply);
      if (failed) lose_connection(i, failed);
    }
    if (fds.back().revents != 0) read_control();
  }
  advance();
}

int VerifyLoad::poll_timeout_ms() const {
  return options_.requests_per_second != 0 ? 1 : 20;
}

bool VerifyLoad::may_begin() const {
  if (stage_ == Stage::final_pass) return true;
  if (stage_ != Stage::load) return false;
  if (options_.requests_per_second == 0) return true;
  const auto elapsed = std::chrono::duration<double>(clock_.now() - timeline_->begin()).count();
  return static_cast<double>(begun_) < elapsed * options_.requests_per_second + 1;
}

void VerifyLoad::fill(std::size_t connection) {
  Connection& c = *connections_[connection];
  if (!c.client.connected()) return;
  for (std::size_t i = 0; i < c.slots.size() && may_begin(); ++i) {
    if (!c.slots[i].busy) begin_request(connection, i);
  }
}

void VerifyLoad::begin_request(std::size_t connection, std::size_t index) {
  Slot& slot = connections_[connection]->slots[index];
  const NbdClient& client = connections_[connection]->client;
  if (stage_ == Stage::final_pass) {
    slot.op = Op::read;
    if (choose_final_read(slot)) submit(connection, index, false);
    return;
  }
  if (client.can_flush() && random_() % flush_one_in == 0) {
    slot.op = Op::flush;
    slot.blocks = 0;
    submit(connection, index, false);
    return;
  }
  slot.op = written_.empty() || random_() % 100 < options_.write_percent ? Op::write : Op::read;
  const bool chosen = slot.op == Op::write ? choose_write(slot) : choose_read(slot);
  const unsigned one_in = options_.durable ? 2 : fua_one_in;
  if (chosen) submit(connection, index, slot.op == Op::write && client.can_fua() && random_() % one_in == 0);
}

unsigned VerifyLoad::random_blocks() {
  const std::uint64_t dice = random_() % 20;
  return dice < 16 ? 1 : dice < 19 ? 4 : blocks_max;
}

// Two writes of one block are never in flight together: how they would mix is not defined by anybody.
bool VerifyLoad::choose_write(Slot& slot) {
  for (int attempt = 0; attempt < 8; ++attempt) {
    slot.blocks = random_blocks();
    slot.first_block = random_() % (area_blocks_ - slot.blocks + 1);
    bool free = true;
    for (unsigned i = 0; i < slot.blocks; ++i) free &= !registers_->write_in_flight(slot.first_block + i);
    if (free) return true;
  }
  return false;
}

bool VerifyLoad::choose_read(Slot& slot) {
  std::uint64_t block;
  if (!fresh_.empty() && random_() % 2 == 0) {
    block = fresh_.front();
    fresh_.pop_front();
  } else {
    block = written_[random_() % written_.size()];
  }
  slot.blocks = random_blocks();
  slot.first_block = std::min(block, area_blocks_ - slot.blocks);
  return true;
}

bool VerifyLoad::choose_final_read(Slot& slot) {
  if (!final_again_.empty()) {
    slot.first_block = final_again_.back();
    slot.blocks = 1;
    final_again_.pop_back();
    return true;
  }
  if (final_next_ >= area_blocks_) return false;
  slot.first_block = final_next_;
  slot.blocks = static_cast<unsigned>(std::min<std::uint64_t>(final_blocks, area_blocks_ - final_next_));
  final_next_ += slot.blocks;
  return true;
}

void VerifyLoad::submit(std::size_t connection, std::size_t index, bool fua) {
  Connection& c = *connections_[connection];
  Slot& slot = c.slots[index];
  slot.busy = true;
  slot.flushing = false;
  slot.begun = clock_.now();
  slot.data.resize(slot.blocks * block_bytes);
  NbdClient::Request request{.fua = fua,
                             .cookie = index,
                             .offset = slot.first_block * block_bytes,
                             .length = static_cast<std::uint32_t>(slot.data.size())};
  switch (slot.op) {
    case Op::write:
      request.command = NbdCommand::write;
      slot.cached = options_.durable && !fua && c.client.can_flush();
      slot.seqs.clear();
      for (unsigned i = 0; i < slot.blocks; ++i) {
        const std::uint64_t block = slot.first_block + i;
        const std::uint64_t seq = registers_->begin_write(block);
        slot.seqs.push_back(seq);
        const Stamp stamp{
            .volume = volume_, .block = block, .seq = seq, .writer = static_cast<std::uint32_t>(connection)};
        stamp_block(std::span<std::byte, block_bytes>(slot.data.data() + i * block_bytes, block_bytes), stamp);
      }
      request.from = slot.data;
      break;
    case Op::read:
      request.command = NbdCommand::read;
      slot.tickets.resize(slot.blocks);
      for (unsigned i = 0; i < slot.blocks; ++i) registers_->begin_read(slot.first_block + i, slot.tickets[i]);
      request.into = slot.data;
      break;
    case Op::flush:
      request.command = NbdCommand::flush;
      request.offset = 0;
      break;
  }
  ++begun_;
  timeline_->started(slot.begun);
  c.client.submit(request);
}

// For the write that was answered.
void VerifyLoad::submit_flush(std::size_t connection, std::size_t index) {
  Connection& c = *connections_[connection];
  Slot& slot = c.slots[index];
  slot.busy = slot.flushing = true;
  slot.begun = clock_.now();
  timeline_->started(slot.begun);
  c.client.submit({.command = NbdCommand::flush, .cookie = index});
}

void VerifyLoad::take_reply(std::size_t connection, const NbdReply& reply) {
  Connection& c = *connections_[connection];
  CHECK(reply.cookie < c.slots.size());  // the client only hands out cookies that it was given
  Slot& slot = c.slots[reply.cookie];
  slot.busy = false;
  const TimePoint now = clock_.now();
  const Duration stall = timeline_->completed(now, now - slot.begun, reply.error != 0);
  if (stall >= options_.stall_worth_telling) listener_.on_stall(now, stall);
  if (reply.error != 0) {
    ++result_.errors;
    if (timeline_->current().errors == 1) listener_.on_error(now, reply.error, result_.errors);
    if (slot.op == Op::write) {
      for (unsigned i = 0; i < slot.blocks; ++i) registers_->lose_write(slot.first_block + i, slot.seqs[i]);
    }
    if (slot.op == Op::read && stage_ == Stage::final_pass) {
      give_up(LoadEnd::io_error, fmt::format("the final pass met error {} at block {}", reply.error, slot.first_block));
    } else if (!options_.tolerate_errors) {
      give_up(LoadEnd::io_error, fmt::format("the server answered with error {}", reply.error));
    }
    return;
  }
  switch (slot.op) {
    case Op::write:
      if (slot.cached && !slot.flushing) return submit_flush(connection, reply.cookie);
      if (slot.flushing) ++result_.flushes;
      ++result_.writes;
      for (unsigned i = 0; i < slot.blocks; ++i) {
        const std::uint64_t block = slot.first_block + i;
        if (!registers_->written(block)) written_.push_back(block);
        registers_->ack_write(block, slot.seqs[i]);
        fresh_.push_back(block);
        if (fresh_.size() > fresh_max) fresh_.pop_front();
      }
      break;
    case Op::read:
      ++result_.reads;
      check_read(slot);
      break;
    case Op::flush:
      ++result_.flushes;
      break;
  }
}

void VerifyLoad::check_read(Slot& slot) {
  for (unsigned i = 0; i < slot.blocks; ++i) {
    const std::span<const std::byte, block_bytes> data(slot.data.data() + i * block_bytes, block_bytes);
    check_block(data, slot.tickets[i]);
  }
}

void VerifyLoad::check_block(std::span<const std::byte, block_bytes> data, const ReadTicket& ticket) {
  const Finding finding = inspect_block(data, volume_, ticket.block);
  std::uint64_t seq = 0;
  if (const auto* whole = std::get_if<Whole>(&finding)) {
    seq = whole->stamp.seq;
  } else if (!std::holds_alternative<Alien>(finding)) {
    const bool mixed = std::holds_alternative<Torn>(finding) || std::holds_alternative<Damaged>(finding);
    if (mixed && registers_->raced(ticket)) {  // read again when the write is over
      (stage_ == Stage::final_pass ? void(final_again_.push_back(ticket.block)) : void(fresh_.push_back(ticket.block)));
      return;
    }
    const FaultKind kind = std::holds_alternative<Misplaced>(finding) ? FaultKind::misplaced
                           : std::holds_alternative<Torn>(finding)    ? FaultKind::torn
                                                                      : FaultKind::damaged;
    found_fault(kind, ticket.block, describe(finding));
    return;
  }
  switch (registers_->end_read(ticket, seq)) {
    case Verdict::good:
      break;
    case Verdict::lost:
      found_fault(FaultKind::lost, ticket.block, describe(finding));
      break;
    case Verdict::stale:
      found_fault(
          FaultKind::stale, ticket.block,
          fmt::format("{}, but {} writes of it were answered before the read began", describe(finding), ticket.acked));
      break;
    case Verdict::forged:
      found_fault(FaultKind::forged, ticket.block, describe(finding));
      break;
  }
}

void VerifyLoad::found_fault(FaultKind kind, std::uint64_t block, std::string text) {
  if (bad_[block]) return;
  bad_[block] = true;
  result_.faults.push_back(Fault{.kind = kind, .block = block, .text = std::move(text)});
  listener_.on_fault(clock_.now(), result_.faults.back());
}

void VerifyLoad::lose_connection(std::size_t connection, error_code cause) {
  Connection& c = *connections_[connection];
  c.client.close();
  const TimePoint now = clock_.now();
  for (Slot& slot : c.slots) {
    if (!std::exchange(slot.busy, false)) continue;
    ++result_.unanswered;
    timeline_->abandoned();
    if (slot.op == Op::write) {
      for (unsigned i = 0; i < slot.blocks; ++i) registers_->lose_write(slot.first_block + i, slot.seqs[i]);
    } else if (slot.op == Op::read && stage_ == Stage::final_pass) {
      for (unsigned i = 0; i < slot.blocks; ++i) final_again_.push_back(slot.first_block + i);
    }
  }
  listener_.on_connection(now, fmt::format("connection {} lost: {}", connection, cause.message()));
  if (options_.reconnect == Duration{}) {
    give_up(LoadEnd::connection_lost, fmt::format("the server closed the connection ({})", cause.message()));
    return;
  }
  c.retry_until = now + options_.reconnect;
  c.retry_at = now;
}

void VerifyLoad::retry_connections() {
  for (std::size_t i = 0; i < connections_.size() && stage_ != Stage::done; ++i) {
    Connection& c = *connections_[i];
    const TimePoint now = clock_.now();
    if (c.client.connected() || now < c.retry_at) continue;
    const error_code failed = c.client.connect(options_.address, connect_limit);
    if (!failed && c.client.size_bytes() == size_bytes_) {
      ++result_.reconnects;
      listener_.on_connection(clock_.now(), fmt::format("connection {} made again", i));
      continue;
    }
    if (!failed) give_up(LoadEnd::connection_lost, "the server came back with another size");
    c.client.close();
    if (now >= c.retry_until) give_up(LoadEnd::connection_lost, "the server did not come back: " + failed.message());
    c.retry_at = clock_.now() + retry_pause;
  }
}

void VerifyLoad::advance() {
  const TimePoint now = clock_.now();
  if (std::exchange(mark_asked_, 0) != 0) obey(fmt::format("mark {}", timeline_->phases().size()));
  if (now >= status_at_) write_status();
  const bool idle = timeline_->outstanding() == 0 && std::ranges::all_of(connections_, [](const auto& connection) {
                      return connection->client.connected();
                    });
  if (timeline_->outstanding() != 0 && now - timeline_->last_progress() > options_.hang_limit) {
    give_up(LoadEnd::hang, fmt::format("{} requests without an answer", timeline_->outstanding()));
  }
  switch (stage_) {
    case Stage::load:
      if (now >= stop_at_ || stop_asked_ != 0) stage_ = Stage::drain;
      break;
    case Stage::drain:
      if (!idle) break;
      stage_ = Stage::flush;
      if (connections_.front()->client.can_flush()) {
        Slot& slot = connections_.front()->slots.front();
        slot.op = Op::flush;
        slot.blocks = 0;
        submit(0, 0, false);
      }
      break;
    case Stage::flush:
      if (!idle) break;
      stage_ = Stage::final_pass;
      obey("mark final pass");
      listener_.on_final_pass(now, area_blocks_);
      break;
    case Stage::final_pass:
      if (idle && final_next_ >= area_blocks_ && final_again_.empty()) stage_ = Stage::done;
      break;
    case Stage::done:
      break;
  }
}

void VerifyLoad::give_up(LoadEnd end, std::string why) {
  if (result_.end == LoadEnd::complete) {
    result_.end = end;
    result_.why = std::move(why);
  }
  stage_ = Stage::done;
}

void VerifyLoad::check_backing_file() {
  const int fd = ::open(options_.backing_file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    give_up(LoadEnd::io_error, fmt::format("{}: {}", options_.backing_file, std::strerror(errno)));
    return;
  }
  std::vector<std::byte> data(block_bytes);
  ReadTicket ticket;
  for (std::uint64_t block = 0; block < area_blocks_; ++block) {
    const auto offset = static_cast<off_t>(block * block_bytes);
    if (::pread(fd, data.data(), data.size(), offset) != static_cast<ssize_t>(data.size())) {
      give_up(LoadEnd::io_error, fmt::format("{}: ends before the volume does", options_.backing_file));
      break;
    }
    registers_->begin_read(block, ticket);
    check_block(std::span<const std::byte, block_bytes>(data.data(), block_bytes), ticket);
    ++result_.blocks_checked_in_file;
  }
  ::close(fd);
}

void VerifyLoad::read_control() {
  char chunk[512];
  const ssize_t got = ::read(options_.control_fd, chunk, sizeof chunk);
  if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (got <= 0) {
    options_.control_fd = -1;
    return;
  }
  control_text_.append(chunk, static_cast<std::size_t>(got));
  for (std::size_t end; (end = control_text_.find('\n')) != std::string::npos;) {
    const std::string line = control_text_.substr(0, end);
    control_text_.erase(0, end + 1);
    obey(line);
  }
}

void VerifyLoad::obey(const std::string& line) {
  if (line == "stop") stop_asked_ = 1;
  if (!line.starts_with("mark ")) return;
  timeline_->mark(clock_.now(), line.substr(5));
  listener_.on_mark(*timeline_);
  write_status();
}

void VerifyLoad::write_status() {
  status_at_ = clock_.now() + status_period;
  if (options_.status_file.empty()) return;
  const std::string temporary = options_.status_file + ".new";
  std::FILE* file = std::fopen(temporary.c_str(), "we");
  if (file == nullptr) return;
  const Phase& phase = timeline_->current();
  const auto waiting = timeline_->outstanding() == 0 ? Duration{} : clock_.now() - timeline_->last_progress();
  fmt::print(file,
             "stage={}\nmark={}\nmarks={}\ncompletions={}\nsince_mark={}\nacked={}\nverified={}\nerrors={}\n"
             "errors_since_mark={}\nfaults={}\noutstanding={}\nwaiting_ms={}\nreconnects={}\n",
             static_cast<int>(stage_), phase.name, timeline_->phases().size() - 1, timeline_->completions(),
             phase.completions, registers_->acked(), registers_->verified(), result_.errors, phase.errors,
             result_.faults.size(), timeline_->outstanding(), std::chrono::duration_cast<milliseconds>(waiting).count(),
             result_.reconnects);
  std::fclose(file);
  std::rename(temporary.c_str(), options_.status_file.c_str());
}

}  // namespace mpath::verify
