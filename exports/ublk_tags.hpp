// The requests of one ublk queue: a slab with one place and one buffer for each tag, between the kernel's ring and the
// block device.
//
//   take() ──► BlockDevice::submit ──► done ──► Answer(tag, result)
//
//   serving   every request goes to the device, every outcome to the kernel.
//   holding   we leave: new requests and failures stay unanswered. The kernel gives them to the next process.
//   refusing  nothing may wait for anything: new requests fail at once.
//
// Threads:    the device's shard.
// Allocation: none per I/O.
// Ownership:  `buffers` and the answer's owner outlive the last request in the device.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "base/block_device.hpp"
#include "exports/ublk_rules.hpp"

namespace mpath {

class UblkTags {
 public:
  enum class Mode : std::uint8_t { serving, holding, refusing };
  struct Counters {
    std::uint64_t requests = 0;
    std::uint64_t errors = 0;  // answered with one
    std::uint64_t held = 0;    // left to the next process
    std::uint64_t bytes_read = 0;
    std::uint64_t bytes_written = 0;
  };
  class Owner {
   public:
    virtual void on_answer(unsigned tag, std::int32_t result) noexcept = 0;
    virtual void on_idle() noexcept = 0;  // the device holds no request any more; may come inside take()

   protected:
    ~Owner() = default;
  };

  // `buffers`: depth times io_bytes.
  UblkTags(BlockDevice& device, unsigned depth, std::uint32_t io_bytes, std::byte* buffers, Owner& owner);
  ~UblkTags();
  UblkTags(const UblkTags&) = delete;
  UblkTags& operator=(const UblkTags&) = delete;

  // The kernel hands over a request. The descriptor is not looked at again.
  void take(unsigned tag, const ublksrv_io_desc& descriptor) noexcept;
  void set_mode(Mode mode) { mode_ = mode; }

  [[nodiscard]] std::byte* buffer(unsigned tag) const { return buffers_ + std::size_t{tag} * io_bytes_; }
  [[nodiscard]] unsigned depth() const { return depth_; }
  [[nodiscard]] unsigned in_flight() const { return in_flight_; }  // held by the device
  [[nodiscard]] const Counters& counters() const { return counters_; }

 private:
  struct Tag : BlockRequest {
    UblkTags* tags = nullptr;
    iovec part{};
  };
  static void done(BlockRequest& base) noexcept;
  void finished(Tag& tag) noexcept;
  void answer(unsigned number, std::int32_t result) noexcept;

  // Constant after construction.
  BlockDevice& device_;
  unsigned depth_;
  std::uint32_t io_bytes_;
  std::byte* buffers_;
  Owner& owner_;
  // The shard's.
  std::unique_ptr<Tag[]> tags_;
  Mode mode_ = Mode::serving;
  unsigned in_flight_ = 0;
  Counters counters_;
};

}  // namespace mpath
