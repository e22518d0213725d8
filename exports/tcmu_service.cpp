#include "exports/tcmu_service.hpp"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>

#include "base/check.hpp"
#include "base/intrusive.hpp"
#include "exports/scsi_disk_answers.hpp"
#include "wire/scsi_sense.hpp"

namespace mpath {
namespace {

constexpr int commands_a_turn = 256;  // so that one disk cannot hold the shard

// The first `length` bytes of what a command brought or wants.
void cut(std::vector<iovec>& data, std::uint64_t length) {
  std::size_t count = 0;
  for (; length > 0; ++count) {
    data[count].iov_len = std::min<std::uint64_t>(data[count].iov_len, length);
    length -= data[count].iov_len;
  }
  data.resize(count);
}

void fill_zero(std::span<const iovec> data) {
  for (const iovec& piece : data) std::memset(piece.iov_base, 0, piece.iov_len);
}

std::size_t copy_out(std::span<const std::byte> from, std::span<const iovec> data) {
  const std::size_t all = from.size();
  for (const iovec& piece : data) {
    const std::size_t part = std::min(piece.iov_len, from.size());
    std::memcpy(piece.iov_base, from.data(), part);
    from = from.subspan(part);
  }
  return all - from.size();
}

void copy_in(std::span<const iovec> data, std::span<std::byte> to) {
  for (const iovec& piece : data) {
    const std::size_t part = std::min(piece.iov_len, to.size());
    std::memcpy(to.data(), piece.iov_base, part);
    to = to.subspan(part);
  }
}

bool all_zero(std::span<const iovec> data, std::size_t length) {
  for (const iovec& piece : data) {
    const std::span bytes(static_cast<const std::byte*>(piece.iov_base), std::min(piece.iov_len, length));
    if (!std::ranges::all_of(bytes, [](std::byte byte) { return byte == std::byte{0}; })) return false;
    length -= bytes.size();
  }
  return true;
}

}  // namespace

struct TcmuService::Request : BlockRequest {
  struct Pass : ScsiRequest {
    Request* owner = nullptr;
  };
  Request* link = nullptr;
  TcmuService* service = nullptr;
  TcmuEntry entry;
  std::uint64_t epoch = 0;
  DiskPlan plan;
  Pass pass;
  Buffer own;  // an answer that is changed on its way
  iovec own_piece{};
  std::vector<scsi::UnmapRange> ranges;
  std::size_t ranges_done = 0;
  bool submitting = false;
  bool done_at_once = false;
};

struct TcmuService::Requests {
  Slab<Request, &Request::link> slab;
};

TcmuService::TcmuService(TcmuRing ring, UniqueFd doorbell, const Home& home, std::string identity, Events events)
    : home_(home),
      identity_(std::move(identity)),
      events_(std::move(events)),
      ring_(ring),
      descriptor_(home.context.get_executor(), doorbell.release()),
      requests_(std::make_unique<Requests>()) {}

TcmuService::~TcmuService() {
  CHECK(in_flight() == 0);  // the device would write into memory that is gone
  CHECK(!armed_ && !turn_posted_);
  if (watching_) home_.device.remove_observer(*this);
}

std::size_t TcmuService::in_flight() const {
  return requests_->slab.out();
}

void TcmuService::start() {
  home_.device.add_observer(*this);
  watching_ = true;
  limits_ = home_.device.limits();
  arm();
  more_ = true;  // what is there already rings no bell
  post_turn();
}

void TcmuService::drain(std::function<void()> idle) {
  idle_ = std::move(idle);
  stopped_ = true;
  finish_if_idle();
}

// ---- event loop handlers

void TcmuService::arm() {
  if (armed_ || stopped_) return;
  armed_ = true;
  descriptor_.async_wait(Descriptor::wait_read, in_memory(wait_memory_, [this](const boost::system::error_code& error) {
                           on_doorbell(error);
                         }));
}

void TcmuService::on_doorbell(error_code error) {
  ++counters_.wakes;
  armed_ = false;
  if (stopped_ || error) return finish_if_idle();
  std::uint32_t events = 0;
  const ssize_t got = ::read(descriptor_.native_handle(), &events, sizeof(events));
  if (got < 0 && errno != EAGAIN && errno != EINTR) {
    return end(std::string("the kernel took the device away: ") + std::strerror(errno));
  }
  take_all();
  arm();
  finish_if_idle();
}

void TcmuService::post_turn() {
  if (turn_posted_) return;
  turn_posted_ = true;
  boost::asio::post(home_.context, in_memory(turn_memory_, [this] { turn(); }));
}

// What is left to take, and what is ready to be told.
void TcmuService::turn() {
  ++counters_.wakes;
  turn_posted_ = false;
  if (more_ && !stopped_) take_all();
  tell();
  if (ring_.broken()) end("the ring contradicts itself");
  finish_if_idle();
}

// All answers there are, with one ring of the bell.
void TcmuService::tell() {
  if (!ring_.publish()) return;
  ++counters_.doorbells;
  constexpr std::uint32_t bell = 0;
  if (::write(descriptor_.native_handle(), &bell, sizeof(bell)) < 0 && errno != EAGAIN && errno != EINTR) {
    end(std::string("the kernel does not take answers: ") + std::strerror(errno));
  }
}

// ---- commands

void TcmuService::take_all() {
  more_ = false;
  for (int taken = 0;; ++taken) {
    if (stopped_) return;
    if (taken == commands_a_turn) {
      more_ = true;
      return post_turn();
    }
    Request& request = requests_->slab.get();
    request.service = this;
    request.pass.owner = &request;
    const TcmuRing::Taken what = ring_.take(request.entry);
    request.epoch = ring_.epoch();
    switch (what) {
      case TcmuRing::Taken::command:
        ++counters_.commands;
        begin(request);
        continue;
      case TcmuRing::Taken::malformed:
        ++counters_.commands;
        answer(request, {scsi::Status::check_condition, scsi::sense::invalid_opcode});
        continue;
      case TcmuRing::Taken::aborts:
        counters_.aborts += request.entry.data_bytes;
        if (events_.aborts) events_.aborts(request.entry.data_bytes);
        post_turn();
        break;
      case TcmuRing::Taken::reset:  // what was taken before is answered in vain
        break;
      case TcmuRing::Taken::nothing:
        return retire(request);
      case TcmuRing::Taken::broken:
        retire(request);
        return post_turn();
    }
    retire(request);
  }
}

void TcmuService::begin(Request& request) {
  if (refusing_) return answer(request, {scsi::Status::check_condition, scsi::sense::no_medium});
  if (attention_ && scsi::tells_unit_attention(static_cast<scsi::Opcode>(request.entry.cdb.bytes[0]))) {
    const scsi::Sense attention = *attention_;
    attention_.reset();
    return answer(request, {scsi::Status::check_condition, attention});
  }
  request.plan = plan_disk_command(request.entry.cdb, request.entry.data_bytes, limits_,
                                   home_.device.scsi_door() != nullptr);
  switch (request.plan.act) {
    case DiskAct::refuse:
      return answer(request, {scsi::Status::check_condition, request.plan.sense});
    case DiskAct::done:
      return answer(request, {});
    case DiskAct::emulate:
      return emulate(request);
    case DiskAct::pass:
      return submit_pass(request);
    case DiskAct::block:
      return submit_block(request);
    case DiskAct::unmap: {
      request.own = home_.buffers.take(request.plan.length);
      copy_in(request.entry.data, request.own.bytes());
      auto ranges = scsi::decode_unmap_list(request.own.bytes());
      request.own.reset();
      if (!ranges) return answer(request, {scsi::Status::check_condition, scsi::sense::parameter_list_length});
      request.ranges = std::move(*ranges);
      request.ranges_done = 0;
      request.status = BlockStatus::ok;
      return submit_ranges(request);
    }
  }
}

void TcmuService::submit_block(Request& request) {
  const DiskPlan& plan = request.plan;
  if (plan.zero_block_follows && !all_zero(request.entry.data, limits_.block_size)) {
    return answer(request, {scsi::Status::check_condition, scsi::sense::invalid_field_in_parameters});
  }
  request.op = plan.op;
  request.fua = plan.fua;
  request.may_unmap = false;
  request.offset = plan.offset;
  request.length = plan.length;
  request.data = {};
  if (plan.op == BlockOp::read || plan.op == BlockOp::write) {
    if (plan.length < request.entry.data_bytes) cut(request.entry.data, plan.length);
    request.data = request.entry.data;
  }
  request.done = &block_done;
  home_.device.submit(request);
}

// One after the other. A device that is done at once is answered here, not in its callback: there may be thousands.
void TcmuService::submit_ranges(Request& request) {
  const std::uint64_t blocks = limits_.size_bytes / limits_.block_size;
  while (request.ranges_done < request.ranges.size()) {
    const scsi::UnmapRange range = request.ranges[request.ranges_done++];
    if (range.blocks == 0) continue;
    if (range.lba > blocks || range.blocks > blocks - range.lba) {
      return answer(request, {scsi::Status::check_condition, scsi::sense::lba_out_of_range});
    }
    request.op = BlockOp::trim;
    request.fua = false;
    request.offset = range.lba * limits_.block_size;
    request.length = std::uint64_t{range.blocks} * limits_.block_size;
    request.data = {};
    request.done = &block_done;
    request.submitting = true;
    request.done_at_once = false;
    home_.device.submit(request);
    request.submitting = false;
    if (!request.done_at_once) return;
    if (request.status == BlockStatus::shutdown) return leave_unanswered(request);
    if (request.status != BlockStatus::ok) break;
  }
  answer(request, disk_status(request.status, BlockOp::trim));
}

void TcmuService::submit_pass(Request& request) {
  const DiskPlan& plan = request.plan;
  ScsiRequest& pass = request.pass;
  pass.cdb = plan.cdb;
  pass.direction = plan.direction;
  pass.changes = plan.changes;
  pass.repeatable = plan.repeatable;
  pass.lengthy = plan.lengthy;
  pass.data = request.entry.data;
  pass.length = static_cast<std::uint32_t>(request.entry.data_bytes);
  if (plan.rewrite != DiskRewrite::none) {
    request.own = home_.buffers.take(plan.ask_bytes);
    request.own_piece = {request.own.data(), plan.ask_bytes};
    pass.data = std::span<const iovec>(&request.own_piece, 1);
    pass.length = plan.ask_bytes;
  }
  pass.done = &pass_done;
  home_.device.scsi_door()->submit_scsi(pass);
}

void TcmuService::emulate(Request& request) {
  const DiskAnswer told = emulate_disk_answer(request.plan, limits_, identity_);
  answer_data(request, told.status, told.data);
}

// ---- completions

void TcmuService::block_done(BlockRequest& base) noexcept {
  auto& request = static_cast<Request&>(base);
  request.service->on_block_done(request);
}
void TcmuService::pass_done(ScsiRequest& base) noexcept {
  Request& request = *static_cast<Request::Pass&>(base).owner;
  request.service->on_pass_done(request);
}

void TcmuService::on_block_done(Request& request) {
  if (request.submitting) {
    request.done_at_once = true;
    return;
  }
  if (request.status == BlockStatus::shutdown) return leave_unanswered(request);
  if (request.plan.act == DiskAct::unmap && request.status == BlockStatus::ok) return submit_ranges(request);
  const bool part = request.op == BlockOp::read && request.length < request.entry.data_bytes;
  answer(request, disk_status(request.status, request.op), part ? static_cast<std::uint32_t>(request.length) : 0);
}

void TcmuService::on_pass_done(Request& request) {
  const ScsiRequest& pass = request.pass;
  switch (pass.outcome) {
    case ScsiOutcome::shutdown:
      return leave_unanswered(request);
    case ScsiOutcome::no_path:
      return answer(request, {scsi::Status::check_condition, scsi::sense::no_path});
    case ScsiOutcome::lost:
      return answer(request, {scsi::Status::check_condition, scsi::sense::command_lost});
    case ScsiOutcome::answered:
      break;
  }
  const DiskStatus status{pass.status, pass.sense};
  if (pass.direction != scsi::DataDirection::in || pass.status != scsi::Status::good) return answer(request, status);
  if (request.plan.rewrite != DiskRewrite::none) {
    const auto told = request.own.bytes().first(std::min<std::size_t>(pass.transferred, request.own.size()));
    const std::size_t size = rewrite_disk_answer(request.plan.rewrite, told, limits_);
    return answer_data(request, status, told.first(std::min<std::size_t>(size, request.plan.allocation)));
  }
  if (pass.transferred == 0) fill_zero(request.entry.data);
  answer(request, status, pass.transferred);
}

// Data-in of our own making.
void TcmuService::answer_data(Request& request, const DiskStatus& status, std::span<const std::byte> data) {
  const std::size_t copied = copy_out(data, request.entry.data);
  // The kernel knows no answer of no bytes: it takes the whole buffer, whatever was there before.
  if (copied == 0) fill_zero(request.entry.data);
  answer(request, status, static_cast<std::uint32_t>(copied));
}

void TcmuService::answer(Request& request, const DiskStatus& status, std::uint32_t read_length) {
  TcmuAnswer answer{.status = status.status, .sense = {}, .read_length = read_length};
  scsi::SenseBytes sense;
  if (status.status == scsi::Status::check_condition) {
    sense = scsi::encode_sense({.sense = status.sense});
    answer.sense = sense.view();
    answer.read_length = 0;
  }
  if (status.status != scsi::Status::good) ++counters_.errors;
  static_cast<void>(ring_.answer(request.entry.id, request.epoch, answer));
  retire(request);
  post_turn();
}

void TcmuService::leave_unanswered(Request& request) {
  retire(request);
  finish_if_idle();
}

void TcmuService::retire(Request& request) {
  request.own.reset();
  requests_->slab.put(request);
}

// ---- the device

void TcmuService::on_limits_changed(const BlockLimits& limits) {
  if (limits.size_bytes != limits_.size_bytes) attention_ = scsi::sense::capacity_changed;
  limits_ = limits;
  if (events_.limits_changed) events_.limits_changed(limits);
}

void TcmuService::on_gone() {
  stopped_ = true;
  finish_if_idle();
}

// ---- end

void TcmuService::end(const std::string& why) {
  if (stopped_) return;
  stopped_ = true;
  if (events_.lost) events_.lost(why);
}

void TcmuService::finish_if_idle() {
  if (!idle_ || in_flight() != 0 || turn_posted_ || idle_posted_) return;
  if (descriptor_.is_open()) tell();
  boost::system::error_code ignored;
  descriptor_.close(ignored);
  if (armed_) return;  // its handler comes here
  idle_posted_ = true;
  if (watching_) home_.device.remove_observer(*this);
  watching_ = false;
  boost::asio::post(home_.context, std::exchange(idle_, nullptr));
}

}  // namespace mpath
