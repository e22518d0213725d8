#include "target/store/file_store.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <sys/uio.h>

#include <boost/asio/post.hpp>
#include <cerrno>
#include <cstring>

#include "base/block_names.hpp"
#include "base/block_rules.hpp"
#include "target/store/fd_file.hpp"

namespace mpath::target {
namespace {

using namespace std::chrono_literals;

constexpr unsigned threads_with_ring = SyncLanes::count + 2;  // flushes and atomic writes never take all of them
constexpr unsigned threads_without_ring = 16;
constexpr unsigned chain_count_max = 32;
constexpr std::uint64_t chain_bytes_max = 1 << 20;
constexpr std::size_t direct_alignment = 512;  // of memory, for O_DIRECT
constexpr Duration usage_age_max = 1s;
constexpr Duration complaint_interval = 1s;

long sleeps_of_this_thread() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nvcsw;
}

bool is_aligned(std::span<const iovec> data) {
  for (const iovec& part : data) {
    if ((reinterpret_cast<std::uintptr_t>(part.iov_base) | part.iov_len) % direct_alignment != 0) return false;
  }
  return true;
}

void copy_from(std::span<const iovec> data, std::byte* to) {
  for (const iovec& part : data) {
    std::memcpy(to, part.iov_base, part.iov_len);
    to += part.iov_len;
  }
}

void copy_to(std::span<const iovec> data, const std::byte* from) {
  for (const iovec& part : data) {
    std::memcpy(part.iov_base, from, part.iov_len);
    from += part.iov_len;
  }
}

}  // namespace

// ---- opening and closing -------------------------------------------------------------------------------------------

std::expected<std::unique_ptr<Store>, std::string> FileStore::open(Shard& shard, const StoreOptions& options,
                                                                   const Log& log) {
  std::expected<std::unique_ptr<Medium>, std::string> medium = Medium::open(options);
  if (!medium) return std::unexpected(std::move(medium.error()));
  std::unique_ptr<FileStore> store(new FileStore(shard, options, std::move(*medium), log));
  for (unsigned lane = 0; lane < SyncLanes::count; ++lane) {
    Result<UniqueFd> fd = store->medium_->open_again();
    if (!fd) return std::unexpected(fmt::format("{}: cannot be opened again: {}", options.path, fd.error().message()));
    store->lanes_.set(lane, std::move(*fd));
  }
  if (std::string wrong = store->open_journal(options); !wrong.empty()) return std::unexpected(std::move(wrong));
  if (std::string wrong = store->open_engine(options.engine); !wrong.empty()) return std::unexpected(std::move(wrong));
  return store;
}

FileStore::FileStore(Shard& shard, const StoreOptions& options, std::unique_ptr<Medium> medium, const Log& log)
    : StoreBase(options.name, medium->limits()),
      shard_(shard),
      log_(log.about("store " + options.name)),
      medium_(std::move(medium)),
      atomic_bytes_max_(options.atomic_bytes_max),
      journal_(options.atomic_bytes_max) {}

FileStore::~FileStore() {
  CHECK(slab_.out() == 0);
}

std::string FileStore::open_engine(StoreEngine wanted) {
  if (wanted != StoreEngine::threads) {
    Result<std::unique_ptr<Uring>> ring =
        Uring::open(shard_.context(), medium_->fd(), medium_->direct(), this, &on_ring);
    if (ring) {
      ring_ = std::move(*ring);
    } else if (wanted == StoreEngine::io_uring) {
      return fmt::format("{}: io_uring is refused here: {}", name_, ring.error().message());
    } else {
      log_.info("io_uring refused reason={} engine=threads", quoted(ring.error().message()));
    }
  }
  const unsigned threads = ring_ ? threads_with_ring : threads_without_ring;
  pool_ = std::make_unique<WorkPool>(shard_.context(), this, &run_work, &on_worked, threads);
  return {};
}

std::string FileStore::open_journal(const StoreOptions& options) {
  std::string path = options.journal;
  if (path.empty() && options.kind == StoreKind::file) path = options.path + ".journal";
  if (path.empty()) return {};
  const bool wanted = options.atomic_bytes_max > 0 && !options.read_only;
  // An unfinished write is finished even when no atomic writes are wanted any more.
  journal_fd_.reset(
      ::open(path.c_str(), O_CLOEXEC | (options.read_only ? O_RDONLY : O_RDWR) | (wanted ? O_CREAT : 0), 0600));
  if (!journal_fd_) {
    if (errno == ENOENT) return {};
    if (options.read_only) return fmt::format("{}: cannot be opened: {}", path, std::strerror(errno));
    log_.warning("no atomic writes reason={}", quoted(fmt::format("{}: {}", path, std::strerror(errno))));
    return {};
  }
  std::string wrong = recover_journal(path);
  if (!wrong.empty() || !wanted) journal_fd_.reset();
  return wrong;
}

std::string FileStore::recover_journal(const std::string& path) {
  FdFile journal(journal_fd_.get());
  const Result<bool> any = Journal::has_entries(journal);
  if (!any) return fmt::format("{}: cannot be read: {}", path, any.error().message());
  if (limits_.read_only) {
    return *any ? path + ": has writes that were not finished: open the medium for writing once" : std::string();
  }
  // Its blocks are there before they are needed: a full file system must not fail a write that takes no space.
  if (const int error = ::posix_fallocate(journal_fd_.get(), 0, static_cast<off_t>(journal_.file_bytes()))) {
    if (*any) return fmt::format("{}: cannot be used: {}", path, std::strerror(error));
    log_.warning("no atomic writes reason={}", quoted(fmt::format("{}: {}", path, std::strerror(error))));
    journal_fd_.reset();
    return {};
  }
  // Through a descriptor without O_DIRECT, which has no wishes about alignment.
  const UniqueFd plain(::open(fmt::format("/proc/self/fd/{}", medium_->fd()).c_str(), O_RDWR | O_CLOEXEC));
  if (!plain) return fmt::format("{}: cannot be opened again: {}", name_, std::strerror(errno));
  FdFile medium(plain.get());
  const Result<unsigned> recovered = journal_.recover(journal, medium, limits_.size_bytes);
  if (!recovered) return fmt::format("{}: cannot be replayed: {}", path, recovered.error().message());
  if (*recovered > 0) log_.notice("unfinished atomic writes replayed count={}", *recovered);
  return {};
}

void FileStore::close(std::function<void(error_code)> closed) {
  CHECK(!closing_);
  closing_ = true;
  closed_ = std::move(closed);
  if (slab_.out() == 0) finish_closing();
}

// What was written is synchronised by one last work item; its return finds the store empty and reports.
void FileStore::finish_closing() {
  if (!closed_) return;
  const bool had_doubt = in_doubt_;
  start_work(
      [this, had_doubt] {
        const int error = had_doubt ? EIO : limits_.read_only ? 0 : medium_->sync(lanes_.fd(0));
        return error == 0 ? error_code() : error_code(error, std::generic_category());
      },
      std::exchange(closed_, nullptr));
}

// ---- requests ------------------------------------------------------------------------------------------------------

void FileStore::submit(BlockRequest& request) noexcept {
  take(request, StoreIo::Kind::request);
}

void FileStore::submit_atomic(BlockRequest& request) noexcept {
  if (request.op != BlockOp::write || request.length > atomic_bytes_max()) {
    finish(request, BlockStatus::invalid);
  } else {
    take(request, StoreIo::Kind::atomic);
  }
}

void FileStore::take(BlockRequest& request, StoreIo::Kind kind) noexcept {
  BlockStatus refused = closing_ ? BlockStatus::shutdown : check_request(limits_, request);
  const bool durable = request.op == BlockOp::flush || request.fua || kind == StoreIo::Kind::atomic;
  if (refused == BlockStatus::ok && durable && in_doubt_) {
    error_offset_ = request.offset;
    refused = BlockStatus::io_error;
  }
  if (refused != BlockStatus::ok) {
    finish(request, refused);
    return;
  }
  StoreIo& io = slab_.get();
  io.kind = kind;
  io.request = &request;
  io.status = BlockStatus::ok;
  io.error_number = 0;
  io.waited_for_medium = durable && request.op != BlockOp::read;
  if (kind == StoreIo::Kind::atomic) io.atomic_sequence = ++atomic_sequence_;
  io.cursor.start(request.data);
  pending_.push_back(io);
  post_dispatch();
}

// What comes in one wake of the shard is sent on its way together.
void FileStore::post_dispatch() {
  if (dispatch_posted_) return;
  dispatch_posted_ = true;
  boost::asio::post(shard_.context(), in_memory(dispatch_memory_, [this] {
                      dispatch_posted_ = false;
                      dispatch();
                    }));
}

void FileStore::dispatch() noexcept {
  // What is submitted by a completion in here is of the next round, so that others get their turn.
  auto round = pending_.take_all();
  inline_writes_.begin(shard_.clock().now());
  sleeps_before_ = -1;
  while (StoreIo* io = round.pop_front()) route(*io);
  push_chain();
  if (ring_) ring_->submit();
}

void FileStore::route(StoreIo& io) noexcept {
  const BlockOp op = io.request->op;
  if (medium_->direct() && (op == BlockOp::read || op == BlockOp::write)) align(io);
  if (io.kind == StoreIo::Kind::request) {
    if (op == BlockOp::read) {
      route_read(io);
      return;
    }
    if (op == BlockOp::write && (!io.request->fua || (medium_->direct() && ring_))) {
      route_write(io);
      return;
    }
  }
  if (io.waited_for_medium) {
    start_in_lane(io);
  } else {
    pool_->push(io);
  }
}

void FileStore::route_read(StoreIo& io) noexcept {
  if (ring_) {
    to_ring(io);
    return;
  }
  if (can_try_cache_ && !medium_->direct()) {
    ++inline_calls_;
    if (medium_->transfer(io, medium_->fd(), RWF_NOWAIT)) {
      complete(io);
      return;
    }
    if (errno == EOPNOTSUPP) can_try_cache_ = false;
  }
  pool_->push(io);
}

void FileStore::route_write(StoreIo& io) noexcept {
  if (medium_->direct()) {
    if (ring_) {
      to_ring(io);
    } else {
      pool_->push(io);
    }
    return;
  }
  const std::uint64_t bytes = io.request->length;
  if (inline_writes_.allows(bytes)) {
    write_inline(io);
    return;
  }
  (chain_first_ == nullptr ? chain_first_ : chain_last_->sibling) = &io;
  chain_last_ = &io;
  chain_bytes_ += bytes;
  if (++chain_count_ >= chain_count_max || chain_bytes_ >= chain_bytes_max) push_chain();
}

void FileStore::write_inline(StoreIo& io) noexcept {
  if (sleeps_before_ < 0) sleeps_before_ = sleeps_of_this_thread();
  ++inline_calls_;
  medium_->transfer(io, medium_->fd(), 0);
  const TimePoint now = shard_.clock().now();
  const bool slept = inline_writes_.took_long(now) && sleeps_of_this_thread() != sleeps_before_;
  inline_writes_.ended(io.request->length, now, slept);
  complete(io);
}

void FileStore::push_chain() noexcept {
  if (chain_first_ == nullptr) return;
  pool_->push(*chain_first_);
  chain_first_ = chain_last_ = nullptr;
  chain_count_ = 0;
  chain_bytes_ = 0;
}

void FileStore::start_in_lane(StoreIo& io) noexcept {
  if (lanes_.enter(io)) pool_->push(io);
}

void FileStore::to_ring(StoreIo& io) noexcept {
  if (ring_->full()) {
    ring_full_.push_back(io);
  } else {
    ring_->push(io);
  }
}

void FileStore::align(StoreIo& io) {
  if (is_aligned(io.request->data)) return;
  io.bounce = shard_.buffers().take(io.request->length);
  io.bounce_part = {io.bounce.data(), io.bounce.size()};
  if (io.request->op == BlockOp::write) copy_from(io.request->data, io.bounce.data());
  io.cursor.start(std::span(&io.bounce_part, 1));
}

// ---- on workers ----------------------------------------------------------------------------------------------------

void FileStore::run_work(void* self, StoreIo& io) noexcept {
  FileStore& store = *static_cast<FileStore*>(self);
  switch (io.kind) {
    case StoreIo::Kind::request:
      store.medium_->carry_out(io, io.lane < 0 ? -1 : store.lanes_.fd(io.lane));
      break;
    case StoreIo::Kind::atomic:
      store.run_atomic(io);
      break;
    case StoreIo::Kind::work:
      io.outcome = io.work();
      break;
  }
}

void FileStore::run_atomic(StoreIo& io) noexcept {
  FdFile journal(journal_fd_.get());
  FdFile medium(lanes_.fd(io.lane));
  const std::span<const iovec> data =
      io.bounce ? std::span<const iovec>(&io.bounce_part, 1) : std::span<const iovec>(io.request->data);
  const auto slot = static_cast<unsigned>(io.lane);
  const Journal::Outcome outcome = journal_.write(journal, medium, slot, io.atomic_sequence, io.request->offset, data);
  io.error_number = outcome.error.value();
  io.status = status_of(io.error_number);
  // A journal that has no room, or that took nothing, leaves the medium as good as it was.
  if (outcome.error && outcome.stage == Journal::Stage::journal) io.waited_for_medium = false;
}

// ---- back on the shard ---------------------------------------------------------------------------------------------

void FileStore::on_worked(void* self, StoreIo& io) noexcept {
  FileStore& store = *static_cast<FileStore*>(self);
  if (io.lane >= 0) {
    if (StoreIo* next = store.lanes_.leave(io)) store.pool_->push(*next);
  }
  store.complete(io);
}

void FileStore::on_ring(void* self, StoreIo& io, int result) noexcept {
  FileStore& store = *static_cast<FileStore*>(self);
  if (result > 0) {
    io.cursor.advance(static_cast<std::size_t>(result));
  } else if (result != -EINTR && result != -EAGAIN) {
    io.error_number = result == 0 ? EIO : -result;  // no byte where there should be one: it shrank under us
    io.status = status_of(io.error_number);
  }
  if (io.error_number == 0 && !io.cursor.at_end()) {
    store.ring_->push(io);
    return;
  }
  if (!store.ring_full_.empty()) store.ring_->push(*store.ring_full_.pop_front());
  store.complete(io);
}

void FileStore::complete(StoreIo& io) noexcept {
  if (io.kind == StoreIo::Kind::work) {
    const auto after = std::exchange(io.after, nullptr);
    const error_code outcome = io.outcome;
    io.work = nullptr;
    slab_.put(io);
    if (closing_ && slab_.out() == 0) finish_closing();
    after(outcome);
    return;
  }
  BlockRequest& request = *io.request;
  if (io.bounce) {
    if (request.op == BlockOp::read && io.status == BlockStatus::ok) copy_to(request.data, io.bounce.data());
    io.bounce.reset();
  }
  if (io.status != BlockStatus::ok) note_failure(io);
  const BlockStatus status = io.status;
  slab_.put(io);
  if (closing_ && slab_.out() == 0) finish_closing();
  finish(request, status);
}

void FileStore::note_failure(const StoreIo& io) {
  const BlockRequest& request = *io.request;
  error_offset_ = request.offset + io.cursor.done();
  if (io.status == BlockStatus::not_supported) return;
  const char* reason = std::strerror(io.error_number);
  // A refusal that touched nothing (no space for a FUA write) loses nothing either; a failed flush always may have.
  const bool lost = io.waited_for_medium && (request.op == BlockOp::flush || io.status == BlockStatus::io_error);
  if (lost && !in_doubt_) {
    in_doubt_ = true;
    log_.error(
        "synchronising failed, what was written since the last flush is in doubt until it is opened anew "
        "op={} offset={} error={}",
        block_op_name(request.op), error_offset_, quoted(reason));
    return;
  }
  ++unsaid_;
  const TimePoint now = shard_.clock().now();
  if (complained_at_ != TimePoint{} && now - complained_at_ < complaint_interval) return;
  log_.error("request failed op={} offset={} length={} error={} count={}", block_op_name(request.op), error_offset_,
             request.length, quoted(reason), unsaid_);
  complained_at_ = now;
  unsaid_ = 0;
}

// ---- administration ------------------------------------------------------------------------------------------------

void FileStore::start_work(std::function<error_code()> work, std::function<void(error_code)> after) {
  StoreIo& io = slab_.get();
  io.kind = StoreIo::Kind::work;
  io.request = nullptr;
  io.work = std::move(work);
  io.after = std::move(after);
  pool_->push(io);
}

void FileStore::grow(std::uint64_t size_bytes, std::function<void(error_code)> done) {
  if (closing_ || limits_.read_only) {
    done(error_code(closing_ ? ESHUTDOWN : EROFS, std::generic_category()));
    return;
  }
  auto size = std::make_shared<std::uint64_t>(0);
  start_work(
      [this, size_bytes, size] {
        const Result<std::uint64_t> grown = medium_->grow(size_bytes);
        *size = grown.value_or(0);
        return grown ? error_code() : grown.error();
      },
      [this, size, done = std::move(done)](error_code error) {
        if (!error) {
          log_.notice("size bytes={}", *size);
          set_size(*size);
        }
        done(error);
      });
}

Store::Usage FileStore::usage() const {
  const TimePoint now = shard_.clock().now();
  if (usage_at_ == TimePoint{} || now - usage_at_ >= usage_age_max) {
    usage_ = medium_->usage();
    usage_at_ = now;
  }
  return usage_;
}

std::uint64_t FileStore::system_calls() const {
  return inline_calls_ + (ring_ ? ring_->system_calls() : 0);
}

}  // namespace mpath::target
