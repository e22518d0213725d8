// Stores without a medium: RAM, and null, which reads zeroes and forgets writes. Requests complete inside submit().
#pragma once

#include "base/memory_device.hpp"
#include "target/store/store_base.hpp"

namespace mpath::target {

class MemoryStore final : public StoreBase {
 public:
  explicit MemoryStore(const StoreOptions& options);

  void submit(BlockRequest& request) noexcept override;
  void grow(std::uint64_t size_bytes, std::function<void(error_code)> done) override;
  [[nodiscard]] Usage usage() const override;
  [[nodiscard]] std::uint32_t atomic_bytes_max() const override { return atomic_bytes_max_; }
  void submit_atomic(BlockRequest& request) noexcept override;
  void close(std::function<void(error_code)> closed) override;
  [[nodiscard]] StoreEngine engine() const override { return StoreEngine::threads; }
  [[nodiscard]] std::uint64_t system_calls() const override { return 0; }

 private:
  [[nodiscard]] BlockStatus forget(const BlockRequest& request) const;

  std::unique_ptr<MemoryDevice> memory_;  // none: null
  std::uint32_t atomic_bytes_max_;
  bool closed_ = false;
};

}  // namespace mpath::target
