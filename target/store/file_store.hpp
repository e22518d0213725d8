// A file or block device as a store: decides for each request who carries it out.
//
//   read            io_uring; without it, at once when the page cache has it, else a worker
//   write           direct: io_uring. Buffered: at once while the page cache takes them quickly, else a worker,
//                   in batches (io_uring would hand each to a kernel thread: 6.4 us instead of 4.1)
//   flush, FUA      a worker with a descriptor of its own (see sync_lanes.hpp)
//   all the others  a worker
//
// Threads: the shard; run_work() on workers.
#pragma once

#include <memory>
#include <string>

#include "base/handler_memory.hpp"
#include "base/intrusive.hpp"
#include "base/shard.hpp"
#include "target/store/inline_policy.hpp"
#include "target/store/medium.hpp"
#include "target/store/store_base.hpp"
#include "target/store/sync_lanes.hpp"
#include "target/store/uring.hpp"
#include "target/store/work_pool.hpp"

namespace mpath::target {

class FileStore final : public StoreBase {
 public:
  [[nodiscard]] static std::expected<std::unique_ptr<Store>, std::string> open(Shard& shard,
                                                                               const StoreOptions& options,
                                                                               const Log& log);
  ~FileStore() override;

  void submit(BlockRequest& request) noexcept override;
  void grow(std::uint64_t size_bytes, std::function<void(error_code)> done) override;
  [[nodiscard]] Usage usage() const override;
  [[nodiscard]] std::uint32_t atomic_bytes_max() const override { return journal_fd_ ? atomic_bytes_max_ : 0; }
  void submit_atomic(BlockRequest& request) noexcept override;
  void close(std::function<void(error_code)> closed) override;
  [[nodiscard]] StoreEngine engine() const override { return ring_ ? StoreEngine::io_uring : StoreEngine::threads; }
  [[nodiscard]] std::uint64_t system_calls() const override;

 private:
  FileStore(Shard& shard, const StoreOptions& options, std::unique_ptr<Medium> medium, const Log& log);
  std::string open_engine(StoreEngine wanted);            // empty, or what is wrong
  std::string open_journal(const StoreOptions& options);  // the same
  std::string recover_journal(const std::string& path);

  void take(BlockRequest& request, StoreIo::Kind kind) noexcept;
  void post_dispatch();
  void dispatch() noexcept;
  void route(StoreIo& io) noexcept;
  void route_read(StoreIo& io) noexcept;
  void route_write(StoreIo& io) noexcept;
  void write_inline(StoreIo& io) noexcept;
  void start_in_lane(StoreIo& io) noexcept;
  void to_ring(StoreIo& io) noexcept;
  void push_chain() noexcept;
  void start_work(std::function<error_code()> work, std::function<void(error_code)> after);
  static void run_work(void* self, StoreIo& io) noexcept;
  void run_atomic(StoreIo& io) noexcept;
  static void on_worked(void* self, StoreIo& io) noexcept;
  static void on_ring(void* self, StoreIo& io, int result) noexcept;
  void align(StoreIo& io);
  void complete(StoreIo& io) noexcept;
  void note_failure(const StoreIo& io);
  void finish_closing();

  // Constant.
  Shard& shard_;
  Log log_;
  std::unique_ptr<Medium> medium_;
  UniqueFd journal_fd_;
  std::uint32_t atomic_bytes_max_;
  Journal journal_;
  // Of the shard.
  std::unique_ptr<Uring> ring_;
  Slab<StoreIo, &StoreIo::next> slab_;
  IntrusiveQueue<StoreIo, &StoreIo::next> pending_;  // submitted, not yet on their way
  IntrusiveQueue<StoreIo, &StoreIo::next> ring_full_;
  SyncLanes lanes_;
  StoreIo* chain_first_ = nullptr;  // buffered writes that one worker will carry out together
  StoreIo* chain_last_ = nullptr;
  unsigned chain_count_ = 0;
  std::uint64_t chain_bytes_ = 0;
  InlinePolicy inline_writes_;
  long sleeps_before_ = -1;  // of the shard's thread, when the first inline write of a wake began
  HandlerMemory dispatch_memory_;
  bool dispatch_posted_ = false;
  bool can_try_cache_ = true;  // the file system knows RWF_NOWAIT
  bool in_doubt_ = false;      // a flush or FUA write failed
  std::uint64_t atomic_sequence_ = 0;
  std::uint64_t inline_calls_ = 0;
  mutable Usage usage_;
  mutable TimePoint usage_at_{};
  TimePoint complained_at_{};
  std::uint64_t unsaid_ = 0;
  std::function<void(error_code)> closed_;
  bool closing_ = false;
  // Last: its threads end before what they use.
  std::unique_ptr<WorkPool> pool_;
};

}  // namespace mpath::target
