// The one queue of a ublk disk: ring, tags and their memory on the shard of the block device.
//
// Threads:   open() anywhere; everything else on the shard.
// Ownership: shared. After abandon() it keeps itself until the device has given its last request back.
// Memory:    depth * io_bytes for data, resident as far as it was ever used, and some 20 KiB for rings.
#pragma once

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>

#include "base/block_device.hpp"
#include "base/result.hpp"
#include "base/unique_fd.hpp"
#include "exports/ublk_ring.hpp"
#include "exports/ublk_tags.hpp"

namespace mpath {

class UblkQueue final : public std::enable_shared_from_this<UblkQueue>, private UblkRing::Owner, private UblkTags::Owner {
 public:
  struct Setup {
    boost::asio::io_context& loop;
    BlockDevice& device;
    UniqueFd character;  // /dev/ublkcN
    unsigned depth = 0;
    std::uint32_t io_bytes = 0;
    // The kernel took the tags back without being asked. From the shard, at most once.
    std::function<void()> on_lost;
  };
  struct Counters : UblkTags::Counters {
    std::uint64_t enters = 0;
  };

  // Maps what the kernel shares, and the buffers.
  [[nodiscard]] static Result<std::shared_ptr<UblkQueue>> open(Setup setup);
  ~UblkQueue();

  // Offers every tag to the kernel, which then has what it waits for in START_DEV and END_USER_RECOVERY.
  [[nodiscard]] error_code start();
  // From here on the end of the tags is no surprise.
  void expect_end() { ending_ = true; }
  // Everything new fails at once; what is in the device goes on.
  void refuse() { tags_.set_mode(UblkTags::Mode::refusing); }
  // Nothing new is begun, and what comes is held; `left` is called when what the device had is finished and answered.
  void leave(std::function<void()> left);
  // Nothing more can come.
  [[nodiscard]] bool all_held() const { return tags_.counters().held >= tags_.depth(); }
  // Closes now. What the device still has is not answered, and goes to the next process.
  void abandon();

  [[nodiscard]] Counters counters() const;

 private:
  explicit UblkQueue(Setup setup);
  void on_tag(unsigned tag, int result) noexcept override;
  void on_answer(unsigned tag, std::int32_t result) noexcept override;
  void on_idle() noexcept override;
  void close();

  // Constant after open().
  Setup setup_;
  const ublksrv_io_desc* descriptors_ = nullptr;  // shared with the kernel, until close()
  std::size_t descriptor_bytes_ = 0;
  std::byte* buffers_ = nullptr;
  std::size_t buffer_bytes_ = 0;
  // The shard's.
  UblkTags tags_;
  std::shared_ptr<UblkRing> ring_;
  bool ending_ = false;
  bool leave_posted_ = false;
  std::uint64_t enters_ = 0;  // of the ring that was closed
  std::function<void()> left_;
  std::shared_ptr<UblkQueue> self_;  // while abandoned, and the device holds requests
};

}  // namespace mpath
