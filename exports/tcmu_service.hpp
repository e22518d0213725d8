// Serves one TCMU ring, on the device's shard: commands in, block requests and SCSI requests to the device, answers out,
// in batches.
//
//   doorbell readable ── take all ── plan ── submit to the device
//                                               │ done(), in any order
//   posted flush ── one doorbell write for all answers ◄── ring
//
// Threads:    the device's shard only; construct anywhere.
// Allocation: none per READ or WRITE in steady state. Requests live in a slab; payloads stay in the ring's data area.
// End:        drain() stops taking, what was taken is finished and answered, then `idle` is called from the loop and the
//             service may be destroyed. What the device gives back with `shutdown` is left in the ring without an answer:
//             the next process finds it there.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/basic_stream_descriptor.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>

#include "base/block_device.hpp"
#include "base/buffer_pool.hpp"
#include "base/handler_memory.hpp"
#include "base/unique_fd.hpp"
#include "exports/scsi_disk_rules.hpp"
#include "exports/scsi_door.hpp"
#include "exports/tcmu_ring.hpp"

namespace mpath {

struct TcmuCounters {
  std::uint64_t commands = 0;
  std::uint64_t errors = 0;  // answers other than GOOD
  std::uint64_t aborts = 0;  // commands that the kernel gave up while we had them
  std::uint64_t wakes = 0;
  std::uint64_t doorbells = 0;
};

class TcmuService final : private BlockDeviceObserver {
 public:
  struct Home {
    boost::asio::io_context& context;
    BufferPool& buffers;
    BlockDevice& device;
  };
  // Called on the shard.
  struct Events {
    std::function<void(const BlockLimits&)> limits_changed;
    std::function<void(std::uint64_t commands)> aborts;  // the kernel gave up waiting for so many
    std::function<void(const std::string& why)> lost;    // nothing more is served
  };

  // `doorbell`: 4 bytes are written to it, and it is readable when the kernel has put something in.
  TcmuService(TcmuRing ring, UniqueFd doorbell, const Home& home, std::string identity, Events events);
  ~TcmuService() override;
  TcmuService(const TcmuService&) = delete;
  TcmuService& operator=(const TcmuService&) = delete;

  void start();
  void drain(std::function<void()> idle);
  // From now on every command is refused, so that nobody waits for it: the disk is being taken away by force.
  void refuse_all() { refusing_ = true; }

  [[nodiscard]] const TcmuCounters& counters() const { return counters_; }
  [[nodiscard]] std::size_t in_flight() const;  // taken and not answered yet

 private:
  using Descriptor = boost::asio::posix::basic_stream_descriptor<boost::asio::io_context::executor_type>;
  struct Request;

  // BlockDeviceObserver
  void on_limits_changed(const BlockLimits& limits) override;
  void on_gone() override;

  // Event loop handlers.
  void arm();
  void on_doorbell(error_code error);
  void post_turn();
  void turn();
  void tell();

  void take_all();
  void begin(Request& request);
  void submit_block(Request& request);
  void submit_ranges(Request& request);
  void submit_pass(Request& request);
  void emulate(Request& request);

  static void block_done(BlockRequest& base) noexcept;
  static void pass_done(ScsiRequest& base) noexcept;
  void on_block_done(Request& request);
  void on_pass_done(Request& request);

  void answer(Request& request, const DiskStatus& status, std::uint32_t read_length = 0);
  void answer_data(Request& request, const DiskStatus& status, std::span<const std::byte> data);
  void leave_unanswered(Request& request);
  void retire(Request& request);
  void end(const std::string& why);
  void finish_if_idle();

  // Constant after construction.
  Home home_;
  std::string identity_;
  Events events_;

  TcmuRing ring_;
  Descriptor descriptor_;
  struct Requests;
  std::unique_ptr<Requests> requests_;
  BlockLimits limits_;
  std::optional<scsi::Sense> attention_;  // to be told with the next command that may carry it

  bool watching_ = false;
  bool armed_ = false;
  bool turn_posted_ = false;
  bool more_ = false;      // there may be more in the ring than one turn took
  bool stopped_ = false;   // nothing more is taken
  bool refusing_ = false;
  bool idle_posted_ = false;
  std::function<void()> idle_;
  TcmuCounters counters_;
  HandlerMemory wait_memory_;
  HandlerMemory turn_memory_;
};

}  // namespace mpath
